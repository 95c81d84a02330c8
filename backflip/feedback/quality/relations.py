"""What an answer says about each pair of candidates: the atoms that every measure of quality counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import combinations
from typing import Final, NamedTuple, TypeVar

import numpy as np

from backflip.errors import DataError
from backflip.records import Answer

__all__ = ["Rate", "Tally", "add", "by_group", "by_labeller", "by_question", "pooled", "relations", "together"]

K = TypeVar("K", bound=Hashable)
_RESAMPLES: Final = 2000


class Rate(NamedTuple):
    """A rate in 0..1 with its 95 % interval; `comparisons` were made on `questions`."""

    value: float
    low: float
    high: float
    comparisons: int
    questions: int


class Tally(NamedTuple):
    """So many of so many, on one question."""

    right: int
    total: int


def relations(answer: Answer) -> dict[tuple[str, str], int]:
    """Each pair of candidates, in order of id -> 1 if the first is better, -1 if worse, 0 if tied."""
    tier = {c: index for index, tier in enumerate(answer.tiers) for c in tier}
    return {(a, b): (tier[b] > tier[a]) - (tier[b] < tier[a]) for a, b in combinations(sorted(tier), 2)}


def by_question(answers: Iterable[Answer]) -> list[list[Answer]]:
    """The questions that two or more answers tell something about; "cannot tell" tells nothing."""
    questions = _split((a for a in answers if not a.cannot_tell), lambda a: a.question)
    return [own for own in questions.values() if len(own) > 1]


def together(own: Sequence[Answer]) -> Iterator[tuple[Answer, Answer]]:
    """Pairs of answers by different people: nobody is asked whether they agree with themselves."""
    return ((a, b) for a, b in combinations(own, 2) if a.labeller.id != b.labeller.id)


def by_labeller(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    """Labeller id -> own answers, ids in order: what a measure is taken of to have it by labeller."""
    return _split(answers, lambda a: a.labeller.id)


def by_group(answers: Iterable[Answer], group: str) -> dict[str, list[Answer]]:
    """Value of the attribute `group` -> answers of its members; "" is those who did not say."""
    return _split(answers, lambda a: a.labeller.groups.get(group, ""))


def _split(answers: Iterable[Answer], key: Callable[[Answer], str]) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        found.setdefault(key(answer), []).append(answer)
    return dict(sorted(found.items()))


def add(tallies: Iterable[Tally]) -> Tally:
    """The tallies as one."""
    collected = list(tallies)
    return Tally(sum(t.right for t in collected), sum(t.total for t in collected))


def pooled(tallies: Iterable[Tally], seed: int) -> Rate:
    """The rate over all, with a bootstrap interval over tallies (one a question); DataError if all are empty.

    The same bootstrap as `intervals.bootstrap_ratio`, by how often each kind of tally is drawn: there are few kinds,
    however many questions there are, and a page shows many rates.
    """
    kinds = Counter(t for t in tallies if t.total)
    if not kinds:
        raise DataError("no question has comparisons by two labellers; ask with overlap 2 or more")
    each, times = np.array(list(kinds), dtype=np.float64), np.array(list(kinds.values()))
    whole = int(times.sum())
    drawn = np.random.default_rng(seed).multinomial(whole, times / whole, size=_RESAMPLES) @ each
    right, total = times @ each
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975]).tolist()
    return Rate(float(right / total), low, high, comparisons=int(total), questions=whole)
