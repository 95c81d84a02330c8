"""Position bias: is what was shown first preferred more often than chance would have it?

The shown order is random, so that without bias an earlier candidate is preferred to a later one half of the time.
Answers without a shown order, or that cannot tell, say nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np

from backflip.errors import DataError
from backflip.feedback.quality.relations import Rate, Tally, add, pooled
from backflip.feedback.statistics import scipy
from backflip.records import Answer

__all__ = ["PositionBias", "position_bias", "position_table"]


class PositionBias(NamedTuple):
    """`earlier`: how often the earlier shown of two is preferred (chance: 1/2), with an interval over questions.

    `first` and `chance`: how often the first shown is the best, ties for best shared, and what chance would give (1/K).
    `p_value`: of no bias, by the two-sided sign test over answers (does an answer favour what was shown earlier?).
    """

    earlier: Rate
    first: float
    chance: float
    p_value: float


def position_bias(answers: Iterable[Answer], *, seed: int = 0) -> PositionBias:
    """The bias of these answers; DataError if none of them has a shown order and a strict preference."""
    shown = list(_shown(answers))
    tallies: dict[str, list[Tally]] = {}
    for question, tiers in shown:
        strict = [(a, b) for a, b in combinations(tiers, 2) if a != b]
        tallies.setdefault(question, []).append(Tally(sum(a < b for a, b in strict), len(strict)))
    signs = [2 * t.right - t.total for own in tallies.values() for t in own]
    if not any(t.total for own in tallies.values() for t in own):
        raise DataError("no answer has a shown order and prefers one candidate to another; position bias wants some")
    return PositionBias(
        earlier=pooled([add(own) for own in tallies.values()], seed),
        first=float(np.mean([_share_of_best(tiers)[0] for _, tiers in shown])),
        chance=float(np.mean([1 / len(tiers) for _, tiers in shown])),
        p_value=_sign_test(sum(s > 0 for s in signs), sum(s != 0 for s in signs)),
    )


def position_table(answers: Iterable[Answer]) -> dict[int, np.ndarray]:
    """K -> how often the candidate shown at each place got each rank, (place, rank), both from first to last.

    Tied candidates share the ranks that they fill: two tied for the best count half first and half second each. Every
    row and every column sums to the number of answers, and without bias all counts are alike.
    """
    tables: dict[int, np.ndarray] = {}
    for _, tiers in _shown(answers):
        count = len(tiers)
        table = tables.setdefault(count, np.zeros((count, count)))
        for place, tier in enumerate(tiers):
            better, tied = sum(t < tier for t in tiers), tiers.count(tier)
            table[place, better : better + tied] += 1 / tied
    return dict(sorted(tables.items()))


def _shown(answers: Iterable[Answer]) -> Iterator[tuple[str, list[int]]]:
    """Question and the tiers of its candidates in the order in which they were shown."""
    for answer in answers:
        tier = {c: index for index, tied in enumerate(answer.tiers) for c in tied}
        if tier and len(answer.shown) == len(tier):
            yield answer.question, [tier[c] for c in answer.shown]


def _share_of_best(tiers: list[int]) -> list[float]:
    best = min(tiers)
    return [(tier == best) / tiers.count(best) for tier in tiers]


def _sign_test(successes: int, trials: int) -> float:
    return float(scipy("stats").binomtest(successes, trials).pvalue) if trials else 1.0
