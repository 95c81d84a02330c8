"""Files into a project's queue and out of it, as an admin asks for it: all of a file comes in, or nothing does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, get_args

from backflip.errors import DataError
from backflip.feedback import formats
from backflip.feedback.formats import Ranked
from backflip.feedback.formats.plain import read_prompts, read_questions
from backflip.feedback.projects import EVERYBODY, TESTS, Project
from backflip.feedback.prompts import prompt_sets
from backflip.feedback.store import Store
from backflip.records import Question

__all__ = ["KINDS", "Filling", "Kind", "export", "fill"]

Kind = Literal["questions", "rankings", "asked_again", "prompts", "demonstrations"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@dataclass(frozen=True)
class Filling:
    """What is in the file, and what shall become of it.

    `questions`: JSON lines without answers; `rankings`: with their answers; `asked_again`: rankings whose questions are
    asked anew here, their answers left out; `prompts` go into the project's set, `demonstrations` to the project.
    """

    kind: Kind
    format: str = "jsonl"
    purpose: str = "train"
    overlap: int = 1
    priority: float = 0.0


def fill(store: Store, project: Project, path: Path, filling: Filling) -> dict[str, int]:
    """Reads the file and puts it in; says how many were new, and how many were there already.

    Raises DataError naming file, line and field; FeedbackError where a labeller has answered a question otherwise.
    """
    put: dict[Kind, Callable[[Store, Project, Path, Filling], tuple[int, int]]] = {
        "questions": _questions,
        "rankings": _rankings,
        "asked_again": _asked_again,
        "prompts": _prompts,
        "demonstrations": _demonstrations,
    }
    if filling.kind not in put:
        raise DataError(f"kind is {filling.kind!r}; wanted one of {', '.join(KINDS)}")
    with store.transaction():
        new, known = put[filling.kind](store, project, path, filling)
    return {"new": new, "known": known}


def export(store: Store, project: str, form: str) -> Path:
    """Writes the answers that stand to a temporary file, whose folder the caller removes."""
    folder = Path(tempfile.mkdtemp(prefix="backflip-export-"))
    path = folder / f"answers.{'json' if formats.FORMATS[form].array else 'jsonl'}"
    formats.write(path, _ranked(store, project), form)
    return path


def _ranked(store: Store, project: str) -> Iterator[Ranked]:
    known: dict[str, Question] = {}
    for _, answer in store.answers(project=project):
        if answer.question not in known:
            known[answer.question] = store.question(answer.question)
        yield Ranked(known[answer.question], answer)


def _questions(store: Store, project: Project, path: Path, filling: Filling) -> tuple[int, int]:
    found = read_questions(path, purpose=filling.purpose, priority=filling.priority)
    return _ask(store, project, found, filling)


def _asked_again(store: Store, project: Project, path: Path, filling: Filling) -> tuple[int, int]:
    ranked = formats.load(path, filling.format).ranked
    found = [replace(one.question, purpose=filling.purpose, priority=filling.priority) for one in ranked]
    return _ask(store, project, found, filling)


def _ask(store: Store, project: Project, found: list[Question], filling: Filling) -> tuple[int, int]:
    overlap = EVERYBODY if filling.purpose in TESTS else filling.overlap
    added = store.add_questions(found, overlap=overlap, project=project.name)
    return added, len({question.id for question in found}) - added


def _rankings(store: Store, project: Project, path: Path, filling: Filling) -> tuple[int, int]:
    ranked = [_for_purpose(one, filling.purpose) for one in formats.load(path, filling.format).ranked]
    stored = store.answers(project=project.name, include_withdrawn=True)
    known = {(a.question, a.labeller.id, a.tiers) for _, a in stored}
    overlap = EVERYBODY if filling.purpose in TESTS else 1
    store.add_questions([question for question, _ in ranked], overlap=overlap, project=project.name)
    new = [a for _, a in ranked if (a.question, a.labeller.id, a.tiers) not in known]
    for answer in new:
        store.answer(answer, key=f"import {answer.question}")
    return len(new), len(ranked) - len(new)


def _for_purpose(ranked: Ranked, purpose: str) -> Ranked:
    question = replace(ranked.question, purpose=purpose)
    return Ranked(question, replace(ranked.answer, question=question.id))


def _prompts(store: Store, project: Project, path: Path, _: Filling) -> tuple[int, int]:
    found = read_prompts(path)
    sets, new = prompt_sets(found, seed=0), 0
    for split in ("train", "validation", "test"):
        new += store.add_prompts(getattr(sets, split), name=project.prompt_set, split=split)
    return new, len(found) - new


def _demonstrations(store: Store, project: Project, path: Path, filling: Filling) -> tuple[int, int]:
    found = formats.read_demonstrations(path, filling.format)
    new = store.add_demonstrations(found, project=project.name)
    return new, len(found) - new
