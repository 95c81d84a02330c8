"""Feedback in and out of files: one small module a format, and one table of them.

`read(path, "hh")` gives all rows or raises: nothing is half imported. `load` also says which rows were left out and
why. `write` puts a whole file under its name or none. Files may be gzipped.

| format | holds | a trip out and back keeps |
|---|---|---|
| jsonl | rankings and demonstrations of our own | everything |
| hh | pairs of dialogues | prompt, better, worse |
| trl | pairs, plain or as messages | prompt, better, worse |
| openai | pairs of summaries | also origins, worker, shown order, note |
| oasst | trees with ranked replies | prompt and its user, origins, tiers with ties; one answer a prompt |
| pandalm | three annotators a pair, with ties | prompt, origins, shown order, tiers with ties |
| label-studio | tasks of Pairwise or Ranker with annotations | everything |
| argilla | records of version 2 with responses to a ranking question | everything |

Rankings of more than two go into hh, trl, openai and pandalm as the pairs that they imply, and come back as pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from backflip.errors import DataError
from backflip.feedback.formats import argilla, comparisons, hh, label_studio, oasst, pandalm, rankings, trl
from backflip.feedback.formats.files import Row, read_rows, write_rows
from backflip.feedback.formats.ranked import Imported, Ranked, Skipped
from backflip.records import Demonstration, Question

__all__ = [
    "FORMATS",
    "Format",
    "Imported",
    "Ranked",
    "Skipped",
    "load",
    "read",
    "read_demonstrations",
    "write",
    "write_demonstrations",
    "write_questions",
]


class Format(NamedTuple):
    """How a format reads and writes rows; `array` if the file is one JSON array."""

    read: Callable[[Sequence[Row]], Imported]
    write: Callable[[Iterable[Ranked]], Iterator[dict[str, Any]]]
    array: bool = False
    read_demonstrations: Callable[[Sequence[Row]], list[Demonstration]] | None = None
    write_demonstrations: Callable[[Iterable[Demonstration]], Iterator[dict[str, Any]]] | None = None
    ask: Callable[[Iterable[Question]], Iterator[dict[str, Any]]] | None = None


FORMATS: Final = MappingProxyType(
    {
        "jsonl": Format(
            rankings.read,
            rankings.write,
            read_demonstrations=rankings.read_demonstrations,
            write_demonstrations=rankings.write_demonstrations,
        ),
        "hh": Format(hh.read, hh.write),
        "trl": Format(trl.read, trl.write),
        "openai": Format(comparisons.read, comparisons.write),
        "oasst": Format(oasst.read, oasst.write, read_demonstrations=oasst.read_demonstrations),
        "pandalm": Format(pandalm.read, pandalm.write, array=True),
        "label-studio": Format(label_studio.read, label_studio.write, array=True, ask=label_studio.ask),
        "argilla": Format(argilla.read, argilla.write, array=True, ask=argilla.ask),
    }
)


def load(path: Path | str, format: str) -> Imported:  # noqa: A002 - the word users know
    """All of a file: the rankings, and the well-formed rows that hold none, with the reason.

    Raises DataError naming file, line and field at the first malformed row, or the file if it cannot be read.
    """
    return _format(format).read(read_rows(Path(path)))


def read(path: Path | str, format: str) -> list[Ranked]:  # noqa: A002
    """The rankings of a file, as `load`."""
    return load(path, format).ranked


def write(path: Path | str, rows: Iterable[Ranked], format: str) -> int:  # noqa: A002
    """Writes the rankings and returns how many rows the file has; an existing file is replaced at the end.

    Raises DataError at what the format cannot hold, OutOfSpace if the disk is full; then nothing was written.
    """
    chosen = _format(format)
    return write_rows(Path(path), chosen.write(rows), array=chosen.array)


def write_questions(path: Path | str, questions: Iterable[Question], format: str) -> int:  # noqa: A002
    """Writes questions to be answered in another tool ("label-studio", "argilla"); raises DataError as `write`."""
    chosen = _format(format)
    if chosen.ask is None:
        raise DataError(f"format {format!r} holds no questions without answers; wanted 'label-studio' or 'argilla'")
    return write_rows(Path(path), chosen.ask(questions), array=chosen.array)


def read_demonstrations(path: Path | str, format: str = "jsonl") -> list[Demonstration]:  # noqa: A002
    """The demonstrations of a file ("jsonl", or the best replies of "oasst"); raises DataError as `load`."""
    reader = _format(format).read_demonstrations
    if reader is None:
        raise DataError(f"format {format!r} holds no demonstrations; wanted 'jsonl' or 'oasst'")
    return reader(read_rows(Path(path)))


def write_demonstrations(path: Path | str, rows: Iterable[Demonstration], format: str = "jsonl") -> int:  # noqa: A002
    """Writes demonstrations ("jsonl") and returns how many; raises as `write`."""
    writer = _format(format).write_demonstrations
    if writer is None:
        raise DataError(f"format {format!r} cannot write demonstrations; wanted 'jsonl'")
    return write_rows(Path(path), writer(rows))


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise DataError(f"unknown format {name!r}; wanted one of {', '.join(FORMATS)}")
    return FORMATS[name]
