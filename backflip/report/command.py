"""`backflip report RUN`: the report of a run, or of all runs below a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from backflip.report.page import write_report

__all__ = ["Config", "run"]


@dataclass(frozen=True)
class Config:
    """Writes one self-contained HTML file: what was trained from what, who wins, test sets, known limits.

    Print it from a browser for a PDF.
    """

    run: Positional[Path]
    """The folder of a run, or of a loop with its runs below it."""
    more: tuple[Path, ...] = ()
    """Folders of other runs that belong to it: measurements, say, or a study of whose values."""
    file: Path | None = None
    """The file to write; none: report.html in the folder."""
    title: str = ""
    """The page's title; none: the folder's name."""


def run(config: Config) -> str:
    """Writes the report and says where. Raises DataError where there is no run."""
    return f"the report is in {write_report(config.run, more=config.more, file=config.file, title=config.title)}"
