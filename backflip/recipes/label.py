"""Labelling elsewhere: questions out to Label Studio or Argilla, and answers back from there.

backflip label export tasks.json --format label-studio --unanswered --store feedback.db
backflip label import export.json --format label-studio --store feedback.db
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from backflip.feedback import formats
from backflip.feedback.store import Store
from backflip.recipes.data import ExportFile, ImportFile, export_rankings, import_rankings
from backflip.records import Question

__all__ = ["LabelExport", "LabelImport", "Tool", "export_labels", "import_labels"]

Tool = Literal["label-studio", "argilla"]


@dataclass(frozen=True)
class LabelImport:
    """Puts what a labelling tool exported into a store: questions and their answers."""

    file: Positional[Path]
    """The tool's JSON file, gzipped or not."""
    store: str
    """The feedback store, a path or URL; it is made if there is none."""
    format: Tool = "label-studio"
    """The tool: label-studio (JSON, not JSON-MIN) or argilla (records.to_json)."""
    project: str = "default"
    """The store's project."""
    purpose: str | None = None
    """The questions' purpose; None leaves it as it went out (or train)."""


@dataclass(frozen=True)
class LabelExport:
    """Writes a store's questions for a labelling tool: with their answers, or to be answered there."""

    file: Positional[Path]
    """The file to write, gzipped if it ends in .gz; one that exists is replaced at the end."""
    store: str
    """The feedback store, a path or URL."""
    format: Tool = "label-studio"
    """The tool: label-studio or argilla."""
    unanswered: bool = False
    """The questions that nobody has answered, in place of those with answers."""
    project: str = "default"
    """The store's project."""
    purpose: str | None = None
    """Only questions of this purpose; None takes all."""


def import_labels(config: LabelImport) -> str:
    """Imports and says what came in. Raises as `import_rankings`."""
    return import_rankings(
        ImportFile(config.file, config.store, config.format, project=config.project, purpose=config.purpose)
    )


def export_labels(config: LabelExport) -> str:
    """Exports and says how many rows were written. Raises DataError where there is nothing to write."""
    if not config.unanswered:
        return export_rankings(
            ExportFile(config.file, config.store, config.format, project=config.project, purpose=config.purpose)
        )
    with Store.existing(config.store) as store:
        count = formats.write_questions(config.file, _unanswered(store, config), config.format)
    return f"{count} questions written to {config.file}"


def _unanswered(store: Store, config: LabelExport) -> Iterator[Question]:
    """Highest priority first, as they would be asked here."""
    told = {answer.question for _, answer in store.answers(project=config.project, purpose=config.purpose)}
    left = (q for q in store.questions(project=config.project, purpose=config.purpose) if q.id not in told)
    return iter(sorted(left, key=lambda question: -question.priority))
