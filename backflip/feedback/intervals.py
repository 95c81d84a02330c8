"""Confidence intervals of rates whose units (prompts, questions) hold several trials that are not independent.

It lies here, and not among the torch functions of maths, so that agreement is reckoned where torch is not installed.
For independent trials there is Wilson's interval, `backflip.feedback.quality.wilson`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from backflip.errors import DataError

__all__ = ["Interval", "bootstrap_ratio"]


class Interval(NamedTuple):
    """An estimate and the ends of its interval."""

    value: float
    low: float
    high: float


def bootstrap_ratio(
    numerators: Sequence[float],  # (units,), such as a prompt's pairs that were ranked right
    denominators: Sequence[float],  # (units,), such as a prompt's pairs
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """`sum(numerators) / sum(denominators)` with a percentile bootstrap interval over units (Efron, 1979).

    Whole units are drawn with replacement, so that what belongs to one prompt stays together. Units of denominator 0
    say nothing and are left out. Raises DataError if the lengths differ or nothing is left.
    """
    if len(numerators) != len(denominators):
        raise DataError(f"{len(numerators)} numerators and {len(denominators)} denominators; wanted one each a unit")
    units = np.array([u for u in zip(numerators, denominators, strict=True) if u[1]], dtype=np.float64).reshape(-1, 2)
    count = len(units)
    if not count:
        raise DataError("there is no unit to take a rate of; wanted at least one with a trial")
    above, below = units.sum(axis=0)
    draw = np.random.default_rng(seed)
    sums = np.array([units[draw.integers(count, size=count)].sum(axis=0) for _ in range(resamples)])
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(above / below), float(low), float(high))
