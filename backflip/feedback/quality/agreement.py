"""How far labellers agree: rates with intervals, who with whom, the most disputed questions, a model's ceiling."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, TypeVar

from backflip.feedback.quality.relations import Rate, Tally, add, by_question, pooled, relations, together
from backflip.records import Answer

__all__ = [
    "Disputed",
    "Told",
    "agreement",
    "agreement_by_group",
    "agreement_by_labeller",
    "ceiling",
    "ceiling_by_group",
    "ceiling_by_labeller",
    "disputed",
    "labeller_matrix",
    "told_by_others",
]

K = TypeVar("K", bound=Hashable)
Ties = Literal["count", "drop"]


class Disputed(NamedTuple):
    """A question, and the share of its comparisons (pairs of candidates x pairs of labellers) that differ."""

    question: str
    disagreement: float
    comparisons: int
    labellers: int


class Told(NamedTuple):
    """An answer, what it says of each pair of candidates, and what the majority of the others says (0: split, tied)."""

    answer: Answer
    own: Mapping[tuple[str, str], int]
    others: Mapping[tuple[str, str], int]

    @property
    def tally(self) -> Tally:
        """Of the pairs on which both are strict, those on which they are one."""
        told = [relation * self.others[pair] for pair, relation in self.own.items() if relation and self.others[pair]]
        return Tally(sum(t > 0 for t in told), len(told))


def agreement(answers: Iterable[Answer], *, ties: Ties = "count", seed: int = 0) -> Rate:
    """How often two labellers of one question say the same of a pair of candidates (P, 3.4: 72.6 and 77.3 %).

    `ties="count"`: a tie agrees with a tie only; "drop": pairs on which one of the two sees a tie are left out.
    Raises DataError if no question has two answers by different labellers.
    """
    return pooled([add(_compare(a, b, ties) for a, b in together(own)) for own in by_question(answers)], seed)


def agreement_by_labeller(answers: Iterable[Answer], *, ties: Ties = "count", seed: int = 0) -> dict[str, Rate]:
    """Labeller id -> agreement with all others on the questions that they share; those who share none are left out."""
    return _rates(answers, lambda a, b: (a.labeller.id, b.labeller.id), ties, seed)


def agreement_by_group(
    answers: Iterable[Answer], group: str, *, ties: Ties = "count", seed: int = 0
) -> dict[tuple[str, str], Rate]:
    """(group, group) -> agreement of their members, within one group and across two; `group` names the attribute.

    Keys are sorted pairs of the attribute's values; a labeller without it is in group "".
    """
    return _rates(answers, lambda a, b: (_sorted(*(x.labeller.groups.get(group, "") for x in (a, b))),), ties, seed)


def labeller_matrix(answers: Iterable[Answer], *, ties: Ties = "count", seed: int = 0) -> dict[tuple[str, str], Rate]:
    """(labeller, labeller), sorted ids -> agreement of the two on the questions that both answered."""
    return _rates(answers, lambda a, b: (_sorted(a.labeller.id, b.labeller.id),), ties, seed)


def disputed(answers: Iterable[Answer], *, limit: int = 20) -> list[Disputed]:
    """The questions about which labellers differ most, worst first; of equals, those that more people answered."""
    found = []
    for own in by_question(answers):
        tally = add(_compare(a, b, "count") for a, b in together(own))
        if tally.right < tally.total:
            people = len({a.labeller.id for a in own})
            found.append(Disputed(own[0].question, 1 - tally.right / tally.total, tally.total, people))
    return sorted(found, key=lambda d: (-d.disagreement, -d.labellers, d.question))[:limit]


def ceiling(answers: Iterable[Answer], *, seed: int = 0) -> Rate:
    """How often the majority of the others foretells which of two candidates a labeller prefers.

    What a model that knew the others' majority would score on these labellers: no honest accuracy is much above it.
    Pairs that the labeller ties, or on which the others are split evenly, are left out. With two labellers it is the
    agreement on strict preferences. Raises DataError if there is no such pair.
    """
    return pooled([add(told.tally for told in question) for question in told_by_others(answers)], seed)


def ceiling_by_labeller(answers: Iterable[Answer], *, seed: int = 0) -> dict[str, Rate]:
    """Labeller id -> how often the majority of the others foretells them; those whom nobody shares are left out."""
    return _ceilings(answers, lambda a: a.labeller.id, seed)


def ceiling_by_group(answers: Iterable[Answer], group: str, *, seed: int = 0) -> dict[str, Rate]:
    """Value of the attribute `group` -> how often the majority of all others foretells its members; "" is no value."""
    return _ceilings(answers, lambda a: a.labeller.groups.get(group, ""), seed)


def told_by_others(answers: Iterable[Answer]) -> Iterator[list[Told]]:
    """For each question that several answered, each answer and what the others' majority says."""
    for own in by_question(answers):
        said = [relations(answer) for answer in own]
        votes = {pair: sum(one.get(pair, 0) for one in said) for one in said for pair in one}
        yield [
            Told(answer, mine, {pair: _sign(votes[pair] - relation) for pair, relation in mine.items()})
            for answer, mine in zip(own, said, strict=True)
        ]


def _ceilings(answers: Iterable[Answer], key: Callable[[Answer], str], seed: int) -> dict[str, Rate]:
    tallies: dict[str, list[Tally]] = {}
    for question in told_by_others(answers):
        here: dict[str, list[Tally]] = {}
        for told in question:
            here.setdefault(key(told.answer), []).append(told.tally)
        for who, own in here.items():
            tallies.setdefault(who, []).append(add(own))
    return {who: pooled(tallies[who], seed) for who in sorted(tallies) if add(tallies[who]).total}


def _sorted(a: str, b: str) -> tuple[str, str]:
    return (a, b) if a <= b else (b, a)


def _compare(a: Answer, b: Answer, ties: Ties) -> Tally:
    left, right = relations(a), relations(b)
    both = [(left[p], right[p]) for p in left.keys() & right.keys()]
    both = both if ties == "count" else [(x, y) for x, y in both if x and y]
    return Tally(sum(x == y for x, y in both), len(both))


def _sign(votes: int) -> int:
    return (votes > 0) - (votes < 0)


def _rates(
    answers: Iterable[Answer], keys: Callable[[Answer, Answer], Iterable[K]], ties: Ties, seed: int
) -> dict[K, Rate]:
    """One agreement for each key that the pairs of answers have; a key's tallies are one a question."""
    tallies: dict[K, list[Tally]] = {}
    for own in by_question(answers):
        here: dict[K, list[Tally]] = {}
        for a, b in together(own):
            compared = _compare(a, b, ties)
            for key in keys(a, b):
                here.setdefault(key, []).append(compared)
        for key, compared_here in here.items():
            tallies.setdefault(key, []).append(add(compared_here))
    return {key: pooled(tallies[key], seed) for key in sorted(tallies, key=str) if add(tallies[key]).total}
