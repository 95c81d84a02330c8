"""Win rates by hand: pairs within a prompt, prompts resampled, near lengths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backflip.errors import DataError
from backflip.evaluation.winrate import Tally, mean_score, near_in_length, tally, win_rate

SCORES = st.lists(st.integers(0, 4).map(float), min_size=1, max_size=5)


def test_all_pairs_of_a_prompt_by_hand() -> None:
    # 3 meets 1, 2, 3: win, win, tie = 2.5; 1 meets 1, 2, 3: tie, loss, loss = 0.5. In all 3 of 6 pairs.
    assert tally([3, 1], [1, 2, 3]) == Tally(3.0, 6)


def test_pairs_that_are_not_kept_do_not_count() -> None:
    keep = np.array([[True, False], [False, True]])
    assert tally([3, 1], [1, 2], keep=keep) == Tally(1.0, 2)  # 3 > 1 wins, 1 < 2 loses
    assert tally([3], [1], keep=np.array([[False]])) == Tally(0.0, 0)


def test_near_lengths_by_hand() -> None:
    # Longer one 100: near from 76 on (24 < 25), not at 75 (25 is a quarter). The text that was cut is near to nothing.
    near = near_in_length(ours=[100, 100], theirs=[76, 75, 100], ours_ended=[True, False], theirs_ended=[True] * 3)
    assert near.tolist() == [[True, False, True], [False, False, False]]


def test_win_rate_is_wins_over_pairs_with_prompts_as_units() -> None:
    rate = win_rate([Tally(2.0, 2), Tally(0.0, 2), Tally(0.5, 1), Tally(0.0, 0)])
    assert rate is not None
    assert rate.value == pytest.approx(2.5 / 5)
    assert (rate.pairs, rate.prompts) == (5, 3)  # the prompt without a pair says nothing
    assert rate.low == 0.0  # one in 27 resamples is thrice the prompt that lost all
    assert rate.high == 1.0


def test_more_samples_of_the_same_prompts_do_not_narrow_the_interval() -> None:
    few = win_rate([Tally(1.0, 1), Tally(0.0, 1)] * 10)
    many = win_rate([Tally(100.0, 100), Tally(0.0, 100)] * 10)
    assert few is not None
    assert many is not None
    assert few[:3] == pytest.approx(many[:3])


def test_without_a_pair_there_is_no_rate() -> None:
    assert win_rate([Tally(0.0, 0)]) is None
    assert win_rate([]) is None


def test_mean_score_gives_each_prompt_one_voice() -> None:
    # (mean of 0, 0, 0 = 0; mean of 1 = 1) -> 0.5, not 0.25
    found = mean_score([[0.0, 0.0, 0.0], [1.0]])
    assert found.value == 0.5
    assert (found.low, found.high) == (0.0, 1.0)
    assert mean_score([[2.0, 4.0]] * 5) == (3.0, 3.0, 3.0)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="NaN"):
        tally([float("nan")], [1.0])
    with pytest.raises(DataError, match="prompt 1 has no score"):
        mean_score([[1.0], []])


@given(SCORES, SCORES)
def test_what_one_wins_the_other_loses(ours: list[float], theirs: list[float]) -> None:
    here, there = tally(ours, theirs), tally(theirs, ours)
    assert here.pairs == there.pairs == len(ours) * len(theirs)
    assert here.wins + there.wins == here.pairs
    slow = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a in ours for b in theirs)
    assert here.wins == slow
