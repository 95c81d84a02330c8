"""Confidence intervals of rates: Wilson's for independent trials, and a bootstrap over units (prompts, questions).

It lies here, and not among the torch functions of maths, so that agreement is reckoned where torch is not installed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from backflip.errors import DataError

__all__ = ["Interval", "bootstrap_ratio", "told", "wilson"]

_CHUNK = 1_000_000  # draws that are held in memory at once


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
    rows = [min(max(1, _CHUNK // count), resamples - done) for done in range(0, resamples, max(1, _CHUNK // count))]
    sums = np.concatenate([units[draw.integers(count, size=(row, count))].sum(axis=1) for row in rows])
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(above / below), float(low), float(high))


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


def told(found: Mapping[str, float], form: str, *, between: str = " ({} to {})", none: str = " (no interval)") -> str:
    """`0.81 (0.74 to 0.87)`: `value`, `low` and `high` as `form` has numbers, never `-0.0`.

    Ends that are equal are no interval: they are drawn from one unit, or from units that are all alike.
    """
    sign = "+" if form.startswith("+") else ""
    value, low, high = (f"{found[name]:{sign}z{form.removeprefix(sign)}}" for name in ("value", "low", "high"))
    return value + (none if found["low"] == found["high"] else between.format(low, high))
