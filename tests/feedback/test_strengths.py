"""Strengths from win counts: by hand, at the likelihood's maximum, against the slow iteration; how sure they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backflip.errors import ConfigError, DataError
from backflip.feedback.strengths import bradley_terry_covariance, bradley_terry_fit


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def without_diagonal(table: np.ndarray) -> np.ndarray:
    return table * (1 - np.eye(len(table)))


def test_malformed_wins_are_refused() -> None:
    with pytest.raises(DataError, match="square"):
        bradley_terry_fit(np.ones((2, 3)))
    with pytest.raises(DataError, match="negative"):
        bradley_terry_fit(-np.ones((2, 2)))
    with pytest.raises(ConfigError, match="prior is 0"):
        bradley_terry_fit(np.ones((2, 2)), prior=0)
    with pytest.raises(DataError, match="did not settle in 1"):
        bradley_terry_fit(np.array([[0.0, 9.0], [1.0, 0.0]]), max_iterations=1)


def test_two_players_by_hand() -> None:
    # 30 to 10 with two tied games more: 31 to 11, so the strengths differ by ln(31/11)
    a, b = bradley_terry_fit(np.array([[0, 30], [10, 0]]), prior=2).tolist()
    assert (a - b, a + b) == (pytest.approx(math.log(31 / 11), abs=1e-8), pytest.approx(0, abs=1e-12))


@given(
    st.integers(2, 6).flatmap(
        lambda n: st.lists(st.lists(st.integers(0, 50), min_size=n, max_size=n), min_size=n, max_size=n)
    )
)
@settings(deadline=None, max_examples=25)
def test_fitted_strengths_expect_the_wins_that_were_seen(rows: list[list[int]]) -> None:
    # the likelihood's maximum: every player's wins equal the expected ones, with the prior's ties in both
    wins = without_diagonal(np.array(rows, dtype=float))
    strength = bradley_terry_fit(wins, prior=1)
    table = without_diagonal(wins + 0.5 / (len(wins) - 1))
    expected = ((table + table.T) * sigmoid(strength[:, None] - strength)).sum(1)
    np.testing.assert_allclose(expected, table.sum(1), rtol=1e-8, atol=1e-8)
    assert strength.mean().item() == pytest.approx(0, abs=1e-12)


def test_fitted_strengths_are_those_of_the_mm_iteration() -> None:
    # Hunter (2004): p_i <- W_i / sum_j n_ij / (p_i + p_j), slow and obvious
    wins = np.array([[0, 9, 4], [3, 0, 7], [2, 5, 0]], dtype=float)
    table = without_diagonal(wins + 0.25)
    games, p = table + table.T, np.ones(3)
    for _ in range(500):
        p = table.sum(1) / (games / (p[:, None] + p)).sum(1)
        p = p / np.exp(np.log(p).mean())
    np.testing.assert_allclose(bradley_terry_fit(wins, prior=1), np.log(p), rtol=0, atol=1e-10)


def test_known_strengths_are_recovered_from_expected_wins() -> None:
    truth = np.array([1.5, 0.2, -0.4, -1.3])
    wins = 100 * sigmoid(truth[:, None] - truth)
    np.testing.assert_allclose(bradley_terry_fit(wins, prior=1e-9), truth, rtol=0, atol=1e-7)


def test_one_who_always_won_stays_finite() -> None:
    strength = bradley_terry_fit(np.triu(np.full((6, 6), 1000), 1))
    assert np.isfinite(strength).all()
    assert (np.diff(strength) < -1).all()


def test_the_covariance_is_that_of_two_by_hand() -> None:
    # n games of two with p = 3/4: the difference d has information n p (1 - p), and each strength is half of it.
    wins = np.array([[0, 29], [9, 0]])  # with the prior's two ties 30 to 10
    strength = bradley_terry_fit(wins, prior=2)
    spread = bradley_terry_covariance(wins, strength, prior=2)
    variance = 1 / (40 * 0.75 * 0.25)
    np.testing.assert_allclose(spread, variance / 4 * np.array([[1, -1], [-1, 1]]), rtol=1e-7)


def test_the_covariance_is_the_spread_of_refitted_strengths() -> None:
    truth, draw = np.array([0.6, 0.1, -0.7]), np.random.default_rng(0)
    games = 200
    fits = []
    for _ in range(300):
        wins = np.zeros((3, 3))
        for i, j in ((0, 1), (0, 2), (1, 2)):
            wins[i, j] = draw.binomial(games, sigmoid(truth[i] - truth[j]))
            wins[j, i] = games - wins[i, j]
        fits.append(bradley_terry_fit(wins, prior=1e-6))
    expected = without_diagonal(games * sigmoid(truth[:, None] - truth))
    # The standard deviation of a variance from 300 draws is 8 % of it.
    spread = bradley_terry_covariance(expected, truth, prior=1e-6)
    np.testing.assert_allclose(np.var(fits, axis=0), np.diag(spread), rtol=0.25)
