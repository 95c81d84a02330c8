"""What to ask next: by hand, exact against drawn, and the order that each method is for."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backflip.errors import ConfigError, DataError
from backflip.feedback import selection
from backflip.feedback.selection import choose, priorities

L3 = math.log(3)  # a difference of ln 3 is a preference of 3/4


def test_two_clips_by_hand() -> None:
    # Two members. Question 0: 3/4 and 1/4; question 1: both 3/4; question 2: both 1/2.
    scores = np.array([[[L3, 0], [0, L3]], [[L3, 0], [L3, 0]], [[0, 0], [5, 5]]])
    assert priorities(scores, "disagreement") == pytest.approx([1 / 16, 0, 0])
    assert priorities(scores, "near_tie") == pytest.approx([1, 1 / 2, 1])
    # Entropy of 1/2 less that of 3/4.
    told = math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    assert priorities(scores, "information") == pytest.approx([told, 0, 0])
    # With a lapse of 0.2 preferences are 0.8 p + 0.1: 0.7 and 0.3.
    assert priorities(scores, "disagreement", lapse=0.2)[0] == pytest.approx(0.04)
    entropy = -0.7 * math.log(0.7) - 0.3 * math.log(0.3)
    assert priorities(scores, "information", lapse=0.2)[0] == pytest.approx(math.log(2) - entropy)


def test_pairs_of_a_ranking_by_hand() -> None:
    # Pairs ab, ac, bc. Member 1: 3/4, 3/4, 1/2; member 2: 1/4, 1/2, 3/4: deviations 1/4, 1/8, 1/8 about the means.
    scores = [np.array([[L3, 0, 0], [0, L3, 0]])]
    assert priorities(scores, "disagreement")[0] == pytest.approx((4 + 1 + 1) / 64 / 3)
    # Means 1/2, 5/8, 5/8: nearness 1, 3/4, 3/4.
    assert priorities(scores, "near_tie")[0] == pytest.approx((1 + 3 / 4 + 3 / 4) / 3)


@given(st.lists(st.lists(st.floats(-3, 3), min_size=3, max_size=3), min_size=2, max_size=4), st.floats(0, 0.5))
@settings(max_examples=25, deadline=None)
def test_information_is_that_of_the_definition(scores: list[list[float]], lapse: float) -> None:
    def chance(member: list[float], order: tuple[int, ...]) -> float:
        p = 1.0
        for place in range(len(order)):
            p *= math.exp(member[order[place]]) / sum(math.exp(member[o]) for o in order[place:])
        return (1 - lapse) * p + lapse / 6

    orders = list(permutations(range(3)))
    each = [[chance(member, order) for order in orders] for member in scores]
    assert [sum(p) for p in each] == pytest.approx([1] * len(scores))

    def entropy(p: np.ndarray) -> float:
        return float(-(p * np.log(p)).sum())

    wanted = entropy(np.mean(each, axis=0)) - np.mean([entropy(np.array(p)) for p in each])
    assert priorities([np.array(scores)], "information", lapse=lapse)[0] == pytest.approx(wanted, abs=1e-9)


def test_drawn_information_is_near_the_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).normal(size=(30, 3, 4))
    exact = priorities(scores, "information", lapse=0.1)
    monkeypatch.setattr(selection, "_ENUMERATED", 2)
    drawn = priorities(scores, "information", lapse=0.1, seed=1)
    assert np.abs(drawn - exact).mean() < 0.05
    assert np.corrcoef(drawn, exact)[0, 1] > 0.9


def test_each_question_has_its_own_size_and_order_of_candidates_is_nothing() -> None:
    draw = np.random.default_rng(0)
    scores = [draw.normal(size=(3, k)) for k in (2, 4, 9, 2, 6)]
    for method in ("disagreement", "near_tie", "information"):
        together = priorities(scores, method, seed=3)
        assert together.shape == (5,)
        assert (together >= 0).all()
        turned = priorities([s[:, ::-1] for s in scores], method, seed=3)
        few = [0, 1, 3]  # counted, not drawn
        assert together[few] == pytest.approx(turned[few])
        assert priorities([s + 7 for s in scores], method, seed=3)[few] == pytest.approx(together[few])
    assert priorities([], "information").shape == (0,)


def test_extreme_scores_stay_finite() -> None:
    scores = np.array([[[1e4, -1e4, 0], [-1e4, 1e4, 0]]])
    assert priorities(scores, "information")[0] == pytest.approx(math.log(2))  # which member is right is then known
    assert priorities(scores, "disagreement")[0] == pytest.approx(1 / 4)
    assert np.isfinite(priorities(np.tile(scores, 3), "information")).all()


def test_random_is_a_fair_draw_by_seed() -> None:
    scores = np.zeros((1000, 1, 2))
    drawn = priorities(scores, "random", seed=1)
    assert (drawn == priorities(scores, "random", seed=1)).all()
    assert (drawn != priorities(scores, "random", seed=2)).any()
    assert len(set(drawn)) == 1000


def test_a_mix_gives_each_its_share_of_every_first_n() -> None:
    draw = np.random.default_rng(0)
    scores = draw.normal(size=(40, 3, 2))
    mixed = choose(priorities(scores, "mix", seed=5), 40)
    assert sorted(mixed) == list(range(40))
    sharp, blind = (list(choose(priorities(scores, m, seed=5), 40)) for m in ("disagreement", "random"))
    # They take turns, so the first 8 hold the first 4 of one method and, but for doubles, the first 4 of the other.
    assert set(sharp[:4]) <= set(mixed[:8])
    assert len(set(blind[:4]) - set(mixed[:8])) <= len(set(sharp[:4]) & set(blind[:8]))
    alone = priorities(scores, "mix", mix={"near_tie": 1})
    assert (choose(alone, 40) == choose(priorities(scores, "near_tie"), 40)).all()


def test_choose_takes_the_highest_and_the_earlier_of_equals() -> None:
    assert choose(np.array([1.0, 3, 3, 2]), 3).tolist() == [1, 2, 3]


def test_nonsense_is_refused() -> None:
    one = np.zeros((2, 1, 2))
    with pytest.raises(ConfigError, match="ensemble of 1"):
        priorities(one, "disagreement")
    with pytest.raises(ConfigError, match="ensemble of 1"):
        priorities(one, "mix")
    assert priorities(one, "near_tie").tolist() == [1, 1]
    with pytest.raises(ConfigError, match="'best'"):
        priorities(one, "best")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="share above 0"):
        priorities(one, "mix", mix={"random": 0})
    with pytest.raises(ConfigError, match="lapse is 1"):
        priorities(one, "near_tie", lapse=1)
    with pytest.raises(DataError, match="question 0"):
        priorities([np.zeros(3)], "random")
    with pytest.raises(DataError, match="finite"):
        priorities(np.array([[[math.nan, 0]]]), "near_tie")
