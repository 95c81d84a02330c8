"""From scores to decisions: a threshold for a stated rate of false alarms, and how good a ranking by score is."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backflip.errors import DataError

__all__ = ["average_precision", "false_positive_rate", "joint_thresholds", "recall", "threshold_at"]


def threshold_at(negatives: ArrayLike, *, rate: float) -> float:
    """The lowest threshold at which at most a share `rate` of these harmless texts' scores (n,) is at or above it.

    Just above one of the scores, or 0 where even that blocks few enough. Raises DataError where there is no score.
    """
    scores = np.sort(np.asarray(negatives, dtype=np.float64))
    if not scores.size or np.isnan(scores).any():
        raise DataError(f"{scores.size} scores of harmless texts, some perhaps NaN; wanted one number or more")
    allowed = math.floor(rate * scores.size)
    if allowed >= scores.size:
        return 0.0
    return float(np.nextafter(scores[scores.size - allowed - 1], np.inf))


def joint_thresholds(scores: ArrayLike, targets: ArrayLike, *, rate: float) -> NDArray[np.float64]:
    """(categories,): thresholds that together block at most a share `rate` of the wholly harmless texts.

    `scores` and `targets` (texts, categories); NaN is not labelled, and a text is harmless if no label says otherwise.
    Each category may block the same share of the texts that are harmless in it, and that share is as large as it can
    be. Raises DataError where a category, or all of them together, have no harmless text.
    """
    score, target = np.asarray(scores, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    harmless = ~(target >= 0.5).any(axis=1) & ~np.isnan(target).all(axis=1)
    if not harmless.any():
        raise DataError(f"none of {len(score)} texts is harmless in all categories; wanted one or more")
    apart = [score[:, i][target[:, i] < 0.5] for i in range(score.shape[1])]
    made = np.zeros(score.shape[1])
    for share in np.linspace(rate, 0.0, 101):
        made = np.array([threshold_at(own, rate=float(share)) for own in apart])
        if (score[harmless] >= made).any(axis=1).mean() <= rate:
            break
    return made


def recall(scores: ArrayLike, targets: ArrayLike, *, threshold: float) -> float:
    """The share of positives (target 1) whose score reaches the threshold; NaN where there is none."""
    return _share(scores, targets, threshold, of=1)


def false_positive_rate(scores: ArrayLike, targets: ArrayLike, *, threshold: float) -> float:
    """The share of negatives (target 0) whose score reaches the threshold; NaN where there is none."""
    return _share(scores, targets, threshold, of=0)


def average_precision(scores: ArrayLike, targets: ArrayLike) -> float:
    """The area under the precision-recall curve, as a sum over thresholds: sum (R_k - R_(k-1)) P_k (AUPRC).

    Equal scores are one threshold, as in scikit-learn's average_precision_score. NaN where nothing is positive.
    """
    score, target = _pair(scores, targets)
    if not (target == 1).any():
        return math.nan
    order = np.argsort(-score, kind="stable")
    score, target = score[order], target[order]
    last = np.append(np.flatnonzero(np.diff(score)), score.size - 1)  # the last of each group of equal scores
    found = np.cumsum(target)[last]
    precision, reached = found / (last + 1), found / found[-1]
    return float((np.diff(reached, prepend=0.0) * precision).sum())


def _share(scores: ArrayLike, targets: ArrayLike, threshold: float, *, of: int) -> float:
    score, target = _pair(scores, targets)
    chosen = score[target == of]
    return float((chosen >= threshold).mean()) if chosen.size else math.nan


def _pair(scores: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    score, target = np.asarray(scores, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if score.shape != target.shape or score.ndim != 1:
        raise DataError(f"scores {score.shape} and targets {target.shape}; wanted two lists of one length")
    return score, target
