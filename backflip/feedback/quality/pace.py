"""How fast people answer: seconds an answer, answers an hour, and answers that were suspiciously quick or slow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np

from backflip.records import Answer

__all__ = ["Outlier", "Pace", "answers_by_day", "outliers", "pace"]


class Pace(NamedTuple):
    """`timed` of `answers` carry seconds; the quartiles are of these, NaN if there are none.

    `per_hour` is answers an hour of work, where an answer that took longer than the upper fence of `outliers` counts as
    that long: a page left open overnight is not work.
    """

    answers: int
    timed: int
    lower: float
    median: float
    upper: float
    per_hour: float
    fast: int
    slow: int


class Outlier(NamedTuple):
    """An answer that took much less, or much more, time than the others."""

    question: str
    labeller: str
    seconds: float
    kind: Literal["fast", "slow"]


def pace(answers: Iterable[Answer]) -> Pace:
    """Quartiles of the seconds an answer, and answers an hour; `outliers` counted among these same answers."""
    given = list(answers)
    seconds = _seconds(given)
    if not len(seconds):
        return Pace(len(given), 0, math.nan, math.nan, math.nan, math.nan, 0, 0)
    lower, median, upper = np.quantile(seconds, [0.25, 0.5, 0.75]).tolist()
    fast, slow = _fences(seconds)
    worked = float(np.minimum(seconds, slow).sum())
    per_hour = 3600 * len(seconds) / worked if worked else math.nan
    return Pace(
        len(given),
        len(seconds),
        lower,
        median,
        upper,
        per_hour,
        int((seconds < fast).sum()),
        int((seconds > slow).sum()),
    )


def outliers(answers: Iterable[Answer]) -> list[Outlier]:
    """Answers outside Tukey's fences of the logarithm of the seconds, quickest first.

    The fences lie 1.5 interquartile ranges outside the quartiles (J. W. Tukey, 1977); times are skewed, their logarithm
    far less. Give answers of one medium: a ranking of nine takes longer than a glance at two clips.
    """
    given = list(answers)
    fast, slow = _fences(_seconds(given))
    found = [
        Outlier(a.question, a.labeller.id, a.seconds, "fast" if a.seconds < fast else "slow")
        for a in given
        if a.seconds is not None and not fast <= a.seconds <= slow
    ]
    return sorted(found, key=lambda o: (o.seconds, o.question, o.labeller))


def answers_by_day(answers: Iterable[Answer]) -> dict[str, int]:
    """Day (as the answers' times say it) -> number of answers; answers without a time are left out."""
    return dict(sorted(Counter(a.time[:10] for a in answers if a.time).items()))


def _seconds(answers: Iterable[Answer]) -> np.ndarray:
    return np.array([a.seconds for a in answers if a.seconds is not None], dtype=np.float64)


def _fences(seconds: np.ndarray) -> tuple[float, float]:
    """With fewer than 4 times, or all alike, nothing stands out."""
    if len(seconds) < 4:
        return -math.inf, math.inf
    logs = np.log(np.maximum(seconds, 1e-3))
    lower, upper = np.quantile(logs, [0.25, 0.75])
    reach = 1.5 * (upper - lower)
    return (float(np.exp(lower - reach)), float(np.exp(upper + reach))) if reach else (-math.inf, math.inf)
