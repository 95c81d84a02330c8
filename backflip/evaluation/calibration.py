"""Whether a model that says 70 % is right 70 % of the time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from backflip.errors import DataError

__all__ = ["Bin", "Calibration", "calibration"]


class Bin(NamedTuple):
    """Comparisons of confidence in [low, high): their mean confidence, and the share that was right."""

    low: float
    high: float
    confidence: float
    accuracy: float
    comparisons: int


class Calibration(NamedTuple):
    """The expected calibration error, and the curve that it sums up (empty bins are left out)."""

    ece: float
    curve: tuple[Bin, ...]


def calibration(probabilities: Sequence[float], *, bins: int = 10) -> Calibration:
    """`sum over bins of share * |accuracy - confidence|` (Guo et al., arXiv 1706.04599, eq. 3) of two-way choices.

    `probabilities`: what the model gave, before it knew, to the candidate that was preferred. Its confidence is the
    larger of p and 1 - p, so that the bins cut [0.5, 1]; p = 0.5 is half right.
    Raises DataError if there is none or one is no probability.
    """
    bad = [p for p in probabilities if not 0 <= p <= 1]
    if bad or not probabilities or bins < 1:
        raise DataError(f"probabilities {bad[:3]} of {len(probabilities)}, {bins} bins; wanted some in [0, 1], a bin")
    members: list[list[float]] = [[] for _ in range(bins)]
    for p in probabilities:
        members[min(int((max(p, 1 - p) - 0.5) * 2 * bins), bins - 1)].append(p)
    width = 0.5 / bins
    curve = tuple(_bin(0.5 + i * width, 0.5 + (i + 1) * width, own) for i, own in enumerate(members) if own)
    return Calibration(sum(b.comparisons * abs(b.accuracy - b.confidence) for b in curve) / len(probabilities), curve)


def _bin(low: float, high: float, own: list[float]) -> Bin:
    confidence = math.fsum(max(p, 1 - p) for p in own) / len(own)
    return Bin(low, high, confidence, sum((p > 0.5) + 0.5 * (p == 0.5) for p in own) / len(own), len(own))
