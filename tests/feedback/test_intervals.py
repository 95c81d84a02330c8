"""Bootstrap intervals over units."""

import numpy as np
import pytest

from backflip.errors import DataError
from backflip.feedback.intervals import bootstrap_ratio, told
from backflip.feedback.quality import wilson


def test_the_value_pools_all_trials() -> None:
    # 1 of 2 and 3 of 4: 4 of 6, not the mean of 0.5 and 0.75
    assert bootstrap_ratio([1, 3], [2, 4]).value == pytest.approx(4 / 6)


def test_a_unit_is_drawn_whole() -> None:
    # Two units of ten trials, one all right and one all wrong: a resample is 0, 1/2 or 1 (with shares 1/4, 1/2, 1/4),
    # so the 95 % interval is all of [0, 1], however many trials there are.
    assert bootstrap_ratio([10, 0], [10, 10]) == (0.5, 0.0, 1.0)


def test_units_that_agree_leave_no_doubt() -> None:
    assert bootstrap_ratio([3.0] * 7, [4.0] * 7) == (0.75, 0.75, 0.75)


def test_independent_trials_give_wilsons_interval() -> None:
    right = (np.arange(400) < 260).astype(float)
    found = bootstrap_ratio(right.tolist(), [1.0] * 400)
    assert found[1:] == pytest.approx(wilson(260, 400), abs=0.006)


def test_units_without_trials_say_nothing() -> None:
    assert bootstrap_ratio([1, 0, 0], [1, 0, 2], seed=3) == bootstrap_ratio([1, 0], [1, 2], seed=3)


def test_the_seed_decides() -> None:
    some = [float(i % 3) for i in range(40)], [2.0] * 40
    assert bootstrap_ratio(*some, seed=1) == bootstrap_ratio(*some, seed=1)
    assert bootstrap_ratio(*some, seed=1) != bootstrap_ratio(*some, seed=2)


def test_nothing_to_estimate_is_refused() -> None:
    with pytest.raises(DataError, match="no unit"):
        bootstrap_ratio([0.0], [0.0])
    with pytest.raises(DataError, match="1 numerators and 2 denominators"):
        bootstrap_ratio([1.0], [1.0, 1.0])


def test_one_unit_is_told_without_an_interval() -> None:
    assert told(bootstrap_ratio([1], [4])._asdict(), ".0%") == "25% (no interval)"
    assert told(bootstrap_ratio([1, 0], [2, 2])._asdict(), ".0%") == "25% (0% to 50%)"
    assert told({"value": -0.001, "low": -0.004, "high": 0.02}, "+.2f", between=" [{}, {}]") == "+0.00 [+0.00, +0.02]"
