"""Data into a store and out of it: rankings, demonstrations, prompts. All of a file comes in, or nothing does.

backflip data import helpful.jsonl --format hh --store feedback.db
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from backflip.config import require
from backflip.feedback import formats
from backflip.feedback.formats import Ranked
from backflip.feedback.formats.plain import read_prompts
from backflip.feedback.prompts import PromptReport, prompt_sets
from backflip.feedback.store import Store
from backflip.records import Question

__all__ = [
    "DemonstrationFile",
    "ExportFile",
    "FormatName",
    "ImportFile",
    "PromptFile",
    "Withdrawal",
    "export_rankings",
    "import_demonstrations",
    "import_prompts",
    "import_rankings",
    "read_prompts",
    "withdraw_answers",
]

FormatName = Literal["jsonl", "hh", "trl", "openai", "oasst", "pandalm", "label-studio", "argilla"]


@dataclass(frozen=True)
class ImportFile:
    """Puts a file of rankings or pairs into a store: questions and their answers."""

    file: Positional[Path]
    """The file, gzipped or not."""
    store: str
    """The feedback store, a path or URL; it is made if there is none."""
    format: FormatName = "jsonl"
    """How the file is written."""
    project: str = "default"
    """The store's project."""
    purpose: str | None = None
    """The questions' purpose; None leaves it as the file has it (train)."""
    labeller: str | None = None
    """Gives all answers this labeller's id; None leaves it as the file has it."""
    groups: dict[str, str] = field(default_factory=dict)
    """Attributes of the labellers, such as `aim helpful`: what they may be grouped by."""


@dataclass(frozen=True)
class ExportFile:
    """Writes a store's answers, less withdrawals, with their questions."""

    file: Positional[Path]
    """The file to write, gzipped if it ends in .gz; one that exists is replaced at the end."""
    store: str
    """The feedback store, a path or URL."""
    format: FormatName = "jsonl"
    """How to write them; jsonl, label-studio and argilla keep everything."""
    project: str = "default"
    """The store's project."""
    purpose: str | None = None
    """Only questions of this purpose; None takes all."""
    up_to: int | None = None
    """Only answers up to this number."""


@dataclass(frozen=True)
class DemonstrationFile:
    """Puts a file of demonstrations into a store."""

    file: Positional[Path]
    """The file: jsonl, or oasst, whose best replies are taken."""
    store: str
    """The feedback store, a path or URL; it is made if there is none."""
    format: Literal["jsonl", "oasst"] = "jsonl"
    """How the file is written."""
    project: str = "default"
    """The store's project."""


@dataclass(frozen=True)
class PromptFile:
    """Puts a file of prompts into a store as a prompt set: without duplicates, split by user."""

    file: Positional[Path]
    """JSON lines: "prompt" (a text, or a list of {"role", "content"}) or "text" (to be continued); "user" if known."""
    store: str
    """The feedback store, a path or URL; it is made if there is none."""
    name: str = "default"
    """The prompt set's name."""
    validation: float = 0.1
    """The share of users whose prompts are for validation."""
    test: float = 0.1
    """The share of users whose prompts are for the test."""
    prefix: int | None = 100
    """Prompts that share so many first characters are near-duplicates; None: only those that are all equal."""
    max_per_user: int = 200
    """At most so many prompts a user (P: 200)."""
    drop_personal: bool = False
    """Drops prompts with e-mail addresses, card or phone numbers."""
    seed: int = 0
    """Of the split, and of what is dropped above the limit."""

    def __post_init__(self) -> None:
        require(bool(self.name), "name", seen=self.name, wanted="the prompt set's name")


@dataclass(frozen=True)
class Withdrawal:
    """Withdraws one answer, or all of a labeller's: they stay in the store and count no more."""

    store: str
    """The feedback store, a path or URL."""
    reason: str
    """Why; it is kept with the withdrawal."""
    number: int | None = None
    """The answer's number."""
    labeller: str | None = None
    """The labeller's id: all answers so far."""

    def __post_init__(self) -> None:
        given = [what for what in (self.number, self.labeller) if what is not None]
        require(len(given) == 1, "number and labeller", seen=given, wanted="one of the two")
        require(bool(self.reason.strip()), "reason", seen=self.reason, wanted="a reason")


def import_rankings(config: ImportFile) -> str:
    """Imports and says what came in. Rows that are there already are counted, not doubled.

    Raises DataError naming file, line and field; FeedbackError where a labeller has answered a question otherwise.
    """
    found = formats.load(config.file, config.format)
    ranked = [_by_labeller(_for_purpose(one, config.purpose), config) for one in found.ranked]
    with Store.open(config.store) as store, store.transaction():
        known = {
            (a.question, a.labeller.id, a.tiers)
            for _, a in store.answers(project=config.project, include_withdrawn=True)
        }
        asked = store.add_questions([question for question, _ in ranked], project=config.project)
        new = [a for _, a in ranked if (a.question, a.labeller.id, a.tiers) not in known]
        for answer in new:
            store.answer(answer, key=f"import {answer.question}")
    left_out = "".join(f"\n  left out: {skip.place}: {skip.reason}" for skip in found.skipped)
    again = len(ranked) - len(new)
    return f"{len(new)} answers and {asked} questions from {config.file}, {again} were there already{left_out}"


def _by_labeller(one: Ranked, config: ImportFile) -> Ranked:
    """The answer by the labeller that the configuration names, with its groups."""
    given = one.answer.labeller
    labeller = replace(given, id=config.labeller or given.id, groups={**given.groups, **config.groups})
    return Ranked(one.question, replace(one.answer, labeller=labeller))


def export_rankings(config: ExportFile) -> str:
    """Exports and says how many rows were written. Raises DataError where there is nothing to write."""
    with Store.existing(config.store) as store:
        count = formats.write(config.file, _rankings(store, config), config.format)
    return f"{count} rows written to {config.file}"


def import_demonstrations(config: DemonstrationFile) -> str:
    """Imports and says how many were new. Raises DataError naming file, line and field."""
    read = formats.read_demonstrations(config.file, config.format)
    with Store.open(config.store) as store:
        new = store.add_demonstrations(read, project=config.project)
    return f"{new} demonstrations from {config.file}, {len(read) - new} were there already"


def import_prompts(config: PromptFile) -> str:
    """Imports and says what was dropped and why. Raises DataError naming file, line and field."""
    sets = prompt_sets(
        read_prompts(config.file),
        seed=config.seed,
        validation=config.validation,
        test=config.test,
        prefix=config.prefix,
        max_per_user=config.max_per_user,
        drop_personal=config.drop_personal,
    )
    with Store.open(config.store) as store, store.transaction():
        for split in ("train", "validation", "test"):
            store.add_prompts(getattr(sets, split), name=config.name, split=split)
    return _report(config, sets.report)


def withdraw_answers(config: Withdrawal) -> str:
    """Withdraws and says how many. Raises FeedbackError where there is no such answer or labeller."""
    with Store.existing(config.store) as store:
        what = config.number if config.labeller is None else config.labeller
        assert what is not None
        count = store.withdraw(what, config.reason)
    return f"{count} answers of {config.store} count no more; their questions are open again, for other labellers"


def _report(config: PromptFile, report: PromptReport) -> str:
    counts = asdict(report)
    lines = (f"  {f.name.replace('_', ' ')}: {counts[f.name]}" for f in fields(report))
    return "\n".join([f"{report.kept} prompts from {config.file} in set {config.name!r}", *lines])


def _for_purpose(ranked: Ranked, purpose: str | None) -> Ranked:
    """The same for another purpose: another question, so that its answer has to name that one."""
    if purpose is None:
        return ranked
    question = replace(ranked.question, purpose=purpose)
    return Ranked(question, replace(ranked.answer, question=question.id))


def _rankings(store: Store, config: ExportFile) -> Iterator[Ranked]:
    known: dict[str, Question] = {q.id: q for q in store.questions(project=config.project, purpose=config.purpose)}
    for _, answer in store.answers(up_to=config.up_to, project=config.project, purpose=config.purpose):
        yield Ranked(known[answer.question], answer)
