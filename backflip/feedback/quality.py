"""How far labellers agree: rates with intervals, Krippendorff's alpha, Kendall's tau, and the ceiling for a model.

All work on answers alone: the unit is a question, and within it every pair of candidates, on which an answer says
better, worse or tie. "Cannot tell" says nothing and is left out. Intervals resample questions, because pairs of one
question are not independent.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple, TypeVar

from backflip.errors import DataError
from backflip.feedback.intervals import bootstrap_ratio
from backflip.records import Answer

__all__ = [
    "Agreement",
    "agreement",
    "agreement_by_group",
    "agreement_by_labeller",
    "ceiling",
    "kendall_tau",
    "krippendorff_alpha",
    "preference_alpha",
    "wilson",
]

K = TypeVar("K", bound=Hashable)
Ties = Literal["count", "drop"]


class Agreement(NamedTuple):
    """A rate in 0..1 with its 95 % interval; `comparisons` were made on `questions`."""

    value: float
    low: float
    high: float
    comparisons: int
    questions: int


class _Tally(NamedTuple):
    agreed: int
    total: int


def agreement(answers: Iterable[Answer], *, ties: Ties = "count", seed: int = 0) -> Agreement:
    """How often two labellers of one question say the same of a pair of candidates (P, 3.4: 72.6 and 77.3 %).

    `ties="count"`: a tie agrees with a tie only; "drop": pairs on which one of the two sees a tie are left out.
    Raises DataError if no question has two answers by different labellers.
    """
    return _rate([_sum(_compare(a, b, ties) for a, b in _pairs(own)) for own in _by_question(answers)], seed)


def agreement_by_labeller(answers: Iterable[Answer], *, ties: Ties = "count", seed: int = 0) -> dict[str, Agreement]:
    """Labeller id -> agreement with all others on the questions that they share; those who share none are left out."""
    return _rates(answers, lambda a, b: (a.labeller.id, b.labeller.id), ties, seed)


def agreement_by_group(
    answers: Iterable[Answer], group: str, *, ties: Ties = "count", seed: int = 0
) -> dict[tuple[str, str], Agreement]:
    """(group, group) -> agreement of their members, within one group and across two; `group` names the attribute.

    Keys are sorted pairs of the attribute's values; a labeller without it is in group "".
    """

    def key(a: Answer, b: Answer) -> tuple[tuple[str, str]]:
        first, second = sorted((a.labeller.groups.get(group, ""), b.labeller.groups.get(group, "")))
        return ((first, second),)

    return _rates(answers, key, ties, seed)


def ceiling(answers: Iterable[Answer], *, seed: int = 0) -> Agreement:
    """How often the majority of the others foretells which of two candidates a labeller prefers.

    What a model that knew the others' majority would score on these labellers: no honest accuracy is much above it.
    Pairs that the labeller ties, or on which the others are split evenly, are left out. With two labellers it is the
    agreement on strict preferences. Raises DataError if there is no such pair.
    """
    tallies = []
    for own in _by_question(answers):
        relations = [_relations(a) for a in own]
        tallies.append(_sum(_foretold(r, relations[:i] + relations[i + 1 :]) for i, r in enumerate(relations)))
    return _rate(tallies, seed)


def krippendorff_alpha(units: Iterable[Sequence[Hashable]]) -> float:
    """Krippendorff's alpha for nominal values: 1 - observed / expected disagreement; 0 is chance, 1 is perfect.

    A unit is the values that several people gave it; units of one value are left out. Source: K. Krippendorff,
    "Computing Krippendorff's Alpha-Reliability" (2011), C. NaN if all values are the same (nothing could be
    disagreed upon); raises DataError if no unit has two values.
    """
    observed, values = 0.0, Counter[Hashable]()
    for unit in units:
        if len(unit) > 1:
            counts = Counter(unit)
            values.update(counts)
            unequal = len(unit) ** 2 - sum(n * n for n in counts.values())  # ordered pairs of different values
            observed += unequal / (len(unit) - 1)
    total = values.total()
    if not total:
        raise DataError("no unit has two values; alpha wants two or more people on some units")
    expected = (total**2 - sum(n * n for n in values.values())) / (total - 1)
    return 1 - observed / expected if expected else math.nan


def preference_alpha(answers: Iterable[Answer]) -> float:
    """Alpha over pairs of candidates, each unit counted both ways round.

    Which of two candidates is called the first is arbitrary, and alpha's expected disagreement depends on it; counted
    both ways, better and worse are equally frequent and the value is free of the order. Raises as `krippendorff_alpha`.
    """
    units: list[list[int]] = []
    for own in _by_question(answers):
        votes: dict[tuple[str, str], list[int]] = {}
        for answer in own:
            for pair, relation in _relations(answer).items():
                votes.setdefault(pair, []).append(relation)
        units.extend(v for vote in votes.values() for v in (vote, [-r for r in vote]))
    return krippendorff_alpha(units)


def kendall_tau(a: Answer, b: Answer) -> float:
    """Kendall's tau-b of two answers to one question: 1 is the same order, -1 the reverse; ties are corrected for.

    Source: M. G. Kendall, "The treatment of ties in ranking problems" (1945). NaN if an answer ties everything or
    cannot tell. Raises DataError if the answers are to different questions.
    """
    if a.question != b.question:
        raise DataError(
            f"answers are to questions {a.question[:12]} and {b.question[:12]}; tau wants two to one question"
        )
    left, right = _relations(a), _relations(b)
    common = left.keys() & right.keys()
    norm = math.sqrt(sum(left[p] ** 2 for p in common) * sum(right[p] ** 2 for p in common))
    return sum(left[p] * right[p] for p in common) / norm if norm else math.nan


def wilson(successes: int, total: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a rate from independent trials (E. B. Wilson, 1927), 95 % by default.

    Raises DataError unless 0 <= successes <= total and total > 0.
    """
    if not 0 <= successes <= total or total == 0:
        raise DataError(f"{successes} successes of {total} trials; wanted 0 <= successes <= trials and a trial or more")
    rate, extra = successes / total, z * z / total
    centre = (rate + extra / 2) / (1 + extra)
    half = z * math.sqrt(rate * (1 - rate) / total + extra / (4 * total)) / (1 + extra)
    return max(0.0, centre - half), min(1.0, centre + half)


def _by_question(answers: Iterable[Answer]) -> list[list[Answer]]:
    """The questions that two or more answers tell something about."""
    questions: dict[str, list[Answer]] = {}
    for answer in answers:
        if not answer.cannot_tell:
            questions.setdefault(answer.question, []).append(answer)
    return [own for own in questions.values() if len(own) > 1]


def _pairs(own: list[Answer]) -> Iterator[tuple[Answer, Answer]]:
    """Pairs of answers by different people: nobody is asked whether they agree with themselves."""
    return ((a, b) for a, b in combinations(own, 2) if a.labeller.id != b.labeller.id)


def _relations(answer: Answer) -> dict[tuple[str, str], int]:
    """Each pair of candidates, in order of id -> 1 if the first is better, -1 if worse, 0 if tied."""
    tier = {c: index for index, tier in enumerate(answer.tiers) for c in tier}
    return {(a, b): (tier[b] > tier[a]) - (tier[b] < tier[a]) for a, b in combinations(sorted(tier), 2)}


def _compare(a: Answer, b: Answer, ties: Ties) -> _Tally:
    left, right = _relations(a), _relations(b)
    both = [(left[p], right[p]) for p in left.keys() & right.keys()]
    both = both if ties == "count" else [(x, y) for x, y in both if x and y]
    return _Tally(sum(x == y for x, y in both), len(both))


def _foretold(own: Mapping[tuple[str, str], int], others: list[dict[tuple[str, str], int]]) -> _Tally:
    majorities = {pair: sum(other.get(pair, 0) for other in others) for pair, relation in own.items() if relation}
    told = [own[pair] * majority for pair, majority in majorities.items() if majority]
    return _Tally(sum(t > 0 for t in told), len(told))


def _sum(tallies: Iterable[_Tally]) -> _Tally:
    collected = list(tallies)
    return _Tally(sum(t.agreed for t in collected), sum(t.total for t in collected))


def _rates(
    answers: Iterable[Answer], keys: Callable[[Answer, Answer], Iterable[K]], ties: Ties, seed: int
) -> dict[K, Agreement]:
    """One agreement for each key that the pairs of answers have; a key's tallies are one a question."""
    tallies: dict[K, list[_Tally]] = {}
    for own in _by_question(answers):
        here: dict[K, list[_Tally]] = {}
        for a, b in _pairs(own):
            compared = _compare(a, b, ties)
            for key in keys(a, b):
                here.setdefault(key, []).append(compared)
        for key, compared_here in here.items():
            tallies.setdefault(key, []).append(_sum(compared_here))
    return {key: _rate(tallies[key], seed) for key in sorted(tallies, key=str) if _sum(tallies[key]).total}


def _rate(tallies: list[_Tally], seed: int) -> Agreement:
    """The pooled rate, with a bootstrap interval over questions."""
    counted = [t for t in tallies if t.total]
    if not counted:
        raise DataError("no question has comparisons by two labellers; ask with overlap 2 or more")
    interval = bootstrap_ratio([t.agreed for t in counted], [t.total for t in counted], seed=seed)
    return Agreement(*interval, comparisons=sum(t.total for t in counted), questions=len(counted))
