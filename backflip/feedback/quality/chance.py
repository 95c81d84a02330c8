"""Who answers at random? Each labeller's strict preferences against the majority of the others.

Somebody who does not look agrees with the majority half of the time, whatever the others do. So a labeller looks
random if the interval of that agreement holds 1/2 and lies below what the others reach together; the p-value is of
"answers at random" and says the same the other way round: the smaller, the surer we are that they do look.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from backflip.feedback.quality.agreement import Told, told_by_others
from backflip.feedback.quality.relations import Rate, pooled
from backflip.records import Answer

__all__ = ["Chance", "answers_at_random", "variance"]


class Chance(NamedTuple):
    """`rate`: agreement with the majority of the others; `others`: the same of all other labellers together.

    `p_value`: the chance that random answers agree as often or oftener (one-sided). `random`: the labeller looks random
    by the rule of this module.
    """

    rate: Rate
    others: Rate
    p_value: float
    random: bool


def answers_at_random(answers: Iterable[Answer], *, seed: int = 0) -> dict[str, Chance]:
    """Labeller id -> whether they answer at random; those with nobody to compare with are left out.

    The p-value's variance is that of a random order of the labeller's own tiers, question by question (H. E. Daniels,
    "The relation between measures of correlation in the universe of sample permutations", 1944), and its distribution
    is normal, which holds from some ten questions on.
    """
    told: dict[str, list[Told]] = {}
    for question in told_by_others(answers):
        for one in question:
            told.setdefault(one.answer.labeller.id, []).append(one)
    counted = {who: own for who, own in sorted(told.items()) if any(one.tally.total for one in own)}
    return {
        who: _chance(own, [one for other, theirs in counted.items() if other != who for one in theirs], seed)
        for who, own in counted.items()
    }


def _chance(own: Sequence[Told], others: Sequence[Told], seed: int) -> Chance:
    rate, theirs = pooled([one.tally for one in own], seed), pooled([one.tally for one in others], seed)
    surplus = sum(2 * one.tally.right - one.tally.total for one in own)
    spread = math.sqrt(math.fsum(variance(one) for one in own))
    p_value = 0.5 * math.erfc(surplus / spread / math.sqrt(2)) if spread else 1.0
    return Chance(rate, theirs, p_value, random=rate.low <= 0.5 <= rate.high and rate.high < theirs.value)


def variance(told: Told) -> float:
    """Variance of (pairs agreed - pairs differed), if the candidates were put into the answer's tiers at random."""
    names = sorted({name for pair in told.own for name in pair})
    mine, others = _matrix(told.own, names), _matrix(told.others, names)
    count = len(names)
    squares = 2 / (count * (count - 1)) * (mine**2).sum() * (others**2).sum()
    if count > 2:
        squares += 4 / (count * (count - 1) * (count - 2)) * _chained(mine) * _chained(others)
    return float(squares) / 4  # Daniels counts each pair both ways round


def _matrix(said: Mapping[tuple[str, str], int], names: Sequence[str]) -> np.ndarray:
    place = {name: index for index, name in enumerate(names)}
    matrix = np.zeros((len(names), len(names)))
    for (a, b), relation in said.items():
        matrix[place[a], place[b]], matrix[place[b], place[a]] = relation, -relation
    return matrix


def _chained(matrix: np.ndarray) -> float:
    return float((matrix.sum(axis=1) ** 2).sum() - (matrix**2).sum())
