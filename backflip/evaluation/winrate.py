"""Win rates and mean scores over prompts: pure numpy, nothing of models or stores.

A prompt is the unit: what was sampled for one prompt is not independent, so intervals resample prompts, not samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backflip.errors import DataError
from backflip.feedback.intervals import Interval, bootstrap_ratio

__all__ = ["NEAR", "Tally", "WinRate", "mean_score", "near_in_length", "tally", "win_rate"]

NEAR = 0.25  # lengths that differ by less than this share of the longer one are near


class Tally(NamedTuple):
    """One prompt's pairs: a win counts 1, a tie 0.5."""

    wins: float
    pairs: int


class WinRate(NamedTuple):
    """The share of pairs won, with its interval, and what it rests on."""

    value: float
    low: float
    high: float
    pairs: int
    prompts: int


def tally(ours: ArrayLike, theirs: ArrayLike, *, keep: NDArray[np.bool_] | None = None) -> Tally:
    """All pairs of our scores (m,) with theirs (n,) for one prompt; `keep` (m, n) leaves pairs out.

    Raises DataError at a score that is NaN: it can be neither better nor worse.
    """
    a, b = np.asarray(ours, dtype=np.float64)[:, None], np.asarray(theirs, dtype=np.float64)[None, :]
    if np.isnan(a).any() or np.isnan(b).any():
        raise DataError("a score to compare is NaN; wanted numbers: look at the judge that gave it")
    points = (a > b) + 0.5 * (a == b)  # (m, n)
    kept = np.ones(points.shape, dtype=np.bool_) if keep is None else keep
    return Tally(float(points[kept].sum()), int(kept.sum()))


def near_in_length(
    *, ours: ArrayLike, theirs: ArrayLike, ours_ended: ArrayLike, theirs_ended: ArrayLike
) -> NDArray[np.bool_]:
    """(m,), (n,) lengths and whether each text ended by itself -> (m, n): both ended, of nearly the same length.

    Among such pairs a policy cannot win by stopping sooner.
    """
    a, b = np.asarray(ours, dtype=np.float64)[:, None], np.asarray(theirs, dtype=np.float64)[None, :]
    both = np.asarray(ours_ended, dtype=np.bool_)[:, None] & np.asarray(theirs_ended, dtype=np.bool_)[None, :]
    return np.asarray(both & (np.abs(a - b) < NEAR * np.maximum(a, b)))


def win_rate(tallies: Sequence[Tally], *, level: float = 0.95, seed: int = 0) -> WinRate | None:
    """Wins over pairs with a bootstrap interval over prompts; None where there is no pair."""
    told = [t for t in tallies if t.pairs]
    if not told:
        return None
    interval = bootstrap_ratio([t.wins for t in told], [t.pairs for t in told], level=level, seed=seed)
    return WinRate(*interval, pairs=sum(t.pairs for t in told), prompts=len(told))


def mean_score(scores: Sequence[Sequence[float]], *, level: float = 0.95, seed: int = 0) -> Interval:
    """The mean over prompts of each prompt's mean over samples, with a bootstrap interval over prompts.

    Raises DataError where there is no prompt, or one without a score.
    """
    if not all(scores):
        raise DataError(f"prompt {[bool(s) for s in scores].index(False)} has no score; wanted one or more each")
    return bootstrap_ratio([float(np.mean(s)) for s in scores], [1.0] * len(scores), level=level, seed=seed)
