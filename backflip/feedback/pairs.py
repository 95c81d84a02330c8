"""Pairs, derived from an answer's tiers whenever they are needed and never stored.

A ranking of K candidates is C(K,2) pairs, and each weighs 1/C(K,2), so that one question weighs 1 however many
candidates it shows (P, eq. 1). Ties are dropped as in P, or enter with target 0.5 as in the control paper (H).
"""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Literal, NamedTuple

from backflip.errors import ConfigError
from backflip.records import Answer

__all__ = ["Pair", "Ties", "pairs"]

Ties = Literal["drop", "half"]


class Pair(NamedTuple):
    """`better` was preferred to `worse` (candidate ids) with `target` 1, or they were tied and `target` is 0.5.

    `distance` is how many tiers lie between them (1 = neighbours, 0 = tied); `weight` is 1/C(K,2).
    """

    better: str
    worse: str
    target: float
    distance: int
    weight: float


def pairs(answer: Answer, ties: Ties = "drop") -> list[Pair]:
    """All pairs of an answer, best first; none if the labeller could not tell.

    A dropped tie does not raise the weight of the pairs that stay: the weights sum to 1 only where nothing is dropped.
    A tied pair names its candidates in the order of their ids, so that equal answers give equal pairs.

    Raises:
        ConfigError: `ties` is neither "drop" nor "half".
    """
    if ties not in ("drop", "half"):
        raise ConfigError(f"ties is {ties!r}; wanted 'drop' or 'half'")
    ranked = [(tier, candidate) for tier, tied in enumerate(answer.tiers) for candidate in sorted(tied)]
    weight = 1 / max(1, comb(len(ranked), 2))
    return [
        Pair(better, worse, 1.0 if high < low else 0.5, low - high, weight)
        for (high, better), (low, worse) in combinations(ranked, 2)
        if high < low or ties == "half"
    ]
