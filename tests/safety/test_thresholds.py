"""Thresholds and average precision, by hand."""

import math

import numpy as np
import pytest

from backflip.errors import DataError
from backflip.safety.thresholds import average_precision, false_positive_rate, joint_thresholds, recall, threshold_at


def test_a_threshold_lets_through_all_but_the_rate() -> None:
    scores = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    for rate, blocked in ((0.0, 0), (0.09, 0), (0.1, 1), (0.25, 2), (0.99, 9)):
        assert sum(s >= threshold_at(scores, rate=rate) for s in scores) == blocked
    assert threshold_at(scores, rate=1.0) == 0.0
    assert sum(s >= threshold_at([0.5] * 10, rate=0.3) for s in [0.5] * 10) == 0  # equal scores go together
    with pytest.raises(DataError, match="0 scores of harmless texts"):
        threshold_at([], rate=0.1)


def test_categories_share_one_rate_of_false_alarms() -> None:
    draw = np.random.default_rng(0)
    scores, targets = draw.random((400, 3)), (draw.random((400, 3)) < 0.1).astype(float)
    targets[draw.random((400, 3)) < 0.2] = np.nan
    made = joint_thresholds(scores, targets, rate=0.1)
    harmless = ~(targets == 1).any(axis=1)
    blocked = (scores[harmless] >= made).any(axis=1).mean()
    assert 0.08 < blocked <= 0.1
    shares = [(scores[targets[:, i] == 0, i] >= made[i]).mean() for i in range(3)]
    assert max(shares) - min(shares) < 0.01  # each has the same part of it
    assert joint_thresholds(scores[:, :1], targets[:, :1], rate=0.1) == threshold_at(
        scores[targets[:, 0] == 0, 0], rate=0.1
    )
    with pytest.raises(DataError, match="none of 1 texts"):
        joint_thresholds([[0.5]], [[1]], rate=0.1)


def test_average_precision_by_hand() -> None:
    # order: 1, 0, 1, 0 -> at recall 1/2 precision 1, at recall 1 precision 2/3: 1/2 * 1 + 1/2 * 2/3 = 5/6
    assert average_precision([0.9, 0.8, 0.7, 0.1], [1, 0, 1, 0]) == pytest.approx(5 / 6)
    # all equal: one threshold, precision is the share of positives
    assert average_precision([0.5] * 4, [1, 0, 0, 0]) == pytest.approx(1 / 4)
    assert average_precision([0.1, 0.2], [1, 1]) == pytest.approx(1.0)
    assert math.isnan(average_precision([0.1], [0]))


def test_average_precision_is_free_of_the_order_of_equal_scores() -> None:
    draw = np.random.default_rng(0)
    scores, targets = draw.integers(0, 5, 60) / 5, draw.integers(0, 2, 60)
    order = draw.permutation(60)
    assert average_precision(scores, targets) == pytest.approx(average_precision(scores[order], targets[order]))
    assert average_precision(scores, targets) == pytest.approx(_slow(scores, targets))


def _slow(scores: np.ndarray, targets: np.ndarray) -> float:
    total, before = 0.0, 0.0
    for least in sorted(set(scores), reverse=True):
        chosen = scores >= least
        reached = targets[chosen].sum() / targets.sum()
        total += (reached - before) * targets[chosen].mean()
        before = reached
    return total


def test_recall_and_false_alarms() -> None:
    scores, targets = [0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0]
    assert (recall(scores, targets, threshold=0.5), false_positive_rate(scores, targets, threshold=0.5)) == (0.5, 0.5)
    assert math.isnan(recall([0.1], [0], threshold=0.5))
    with pytest.raises(DataError, match="two lists of one length"):
        recall([0.1], [0, 1], threshold=0.5)
