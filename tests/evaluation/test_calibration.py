"""Expected calibration error, by hand and against a slow version."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backflip.errors import DataError
from backflip.evaluation.calibration import calibration


def test_two_bins_by_hand() -> None:
    # Bins [0.5, 0.75) and [0.75, 1]. First: p = 0.6 (right), 0.4 (wrong, confidence 0.6): accuracy 0.5, confidence 0.6.
    # Second: p = 0.9 and 1.0 right, 0.2 (wrong, confidence 0.8): accuracy 2/3, confidence 0.9.
    # ECE = 2/5 * |0.5 - 0.6| + 3/5 * |2/3 - 0.9| = 0.04 + 0.14
    found = calibration([0.6, 0.9, 0.4, 1.0, 0.2], bins=2)
    assert found.ece == pytest.approx(0.18)
    assert [(b.low, b.high, b.comparisons) for b in found.curve] == [(0.5, 0.75, 2), (0.75, 1.0, 3)]
    assert [b.confidence for b in found.curve] == pytest.approx([0.6, 0.9])
    assert [b.accuracy for b in found.curve] == pytest.approx([0.5, 2 / 3])


def test_a_model_that_knows_nothing_and_says_so_is_calibrated() -> None:
    assert calibration([0.5] * 9).ece == 0  # confidence 0.5, half right


def test_a_model_that_is_sure_and_wrong_is_not() -> None:
    assert calibration([0.0, 0.0]).ece == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(1, 12))
def test_equals_a_slow_version(probabilities: list[float], bins: int) -> None:
    total = 0.0
    for i in range(bins):
        inside = [p for p in probabilities if min(int((max(p, 1 - p) - 0.5) * 2 * bins), bins - 1) == i]
        right = sum(1.0 if p > 0.5 else 0.5 if p == 0.5 else 0.0 for p in inside)
        total += abs(right - sum(max(p, 1 - p) for p in inside))
    found = calibration(probabilities, bins=bins)
    assert math.isclose(found.ece, total / len(probabilities), abs_tol=1e-12)
    assert sum(b.comparisons for b in found.curve) == len(probabilities)


@pytest.mark.parametrize("bad", [[], [1.5], [math.nan]])
def test_what_is_no_probability_is_refused(bad: list[float]) -> None:
    with pytest.raises(DataError, match="probabilities"):
        calibration(bad)
