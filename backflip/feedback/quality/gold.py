"""Gold questions: their answer is known, because a maker of the project gave it beforehand.

The rule: an answer passes if it has every pair of candidates that the reference ranks strictly in the same order. Where
the reference ties, anything passes; "cannot tell" fails, unless the reference cannot tell either. With a lower `share`
that share of the strict pairs is enough. Of several references, one that agrees is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from backflip.feedback.intervals import wilson
from backflip.feedback.quality.relations import by_labeller, relations
from backflip.records import Answer

__all__ = ["Gold", "gold", "gold_by_labeller", "passes", "references"]


class Gold(NamedTuple):
    """`passed` of `asked` gold questions, as a rate with Wilson's 95 % interval; `failed` names the others."""

    value: float
    low: float
    high: float
    passed: int
    asked: int
    failed: tuple[str, ...]


def references(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    """Question -> the answers of makers among `answers` (give those to questions of purpose "gold")."""
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        if answer.labeller.kind == "maker":
            found.setdefault(answer.question, []).append(answer)
    return found


def passes(answer: Answer, known: Sequence[Answer], *, share: float = 1.0) -> bool:
    """Whether an answer passes against one of the references `known`."""
    return any(_agrees(answer, reference, share) for reference in known)


def gold(answers: Iterable[Answer], known: Mapping[str, Sequence[Answer]], *, share: float = 1.0) -> Gold | None:
    """How many of these answers pass; those of makers, and to questions without a reference, are left out.

    None if nothing is left.
    """
    judged = [a for a in answers if a.labeller.kind != "maker" and known.get(a.question)]
    if not judged:
        return None
    failed = tuple(a.question for a in judged if not passes(a, known[a.question], share=share))
    passed = len(judged) - len(failed)
    return Gold(passed / len(judged), *wilson(passed, len(judged)), passed, len(judged), failed)


def gold_by_labeller(answers: Iterable[Answer], *, share: float = 1.0) -> dict[str, Gold]:
    """Labeller id -> gold questions passed, from all answers to gold questions, the makers' among them."""
    given = list(answers)
    known = references(given)
    marks = {who: gold(own, known, share=share) for who, own in by_labeller(given).items()}
    return {who: mark for who, mark in marks.items() if mark is not None}


def _agrees(answer: Answer, reference: Answer, share: float) -> bool:
    wanted = {pair: relation for pair, relation in relations(reference).items() if relation}
    if answer.cannot_tell or reference.cannot_tell:
        return answer.cannot_tell and reference.cannot_tell
    said = relations(answer)
    right = sum(said.get(pair) == relation for pair, relation in wanted.items())
    return right >= share * len(wanted) - 1e-9
