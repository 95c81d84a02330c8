"""Pairs by hand, and against the definition for every tiering."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backflip.errors import ConfigError
from backflip.feedback.pairs import Pair, pairs
from backflip.records import Answer, Labeller

ANN = Labeller("ann", "person")


def answer(*tiers: str) -> Answer:
    return Answer(question="q", labeller=ANN, tiers=tuple(tuple(tier) for tier in tiers))


def test_a_full_ranking_of_three_is_three_pairs_by_hand() -> None:
    # a > b > c: C(3,2) = 3 pairs of weight 1/3; a and c are two tiers apart.
    third = 1 / 3
    assert pairs(answer("a", "b", "c")) == [
        Pair("a", "b", 1.0, 1, third),
        Pair("a", "c", 1.0, 2, third),
        Pair("b", "c", 1.0, 1, third),
    ]


def test_a_best_of_four_drops_its_ties_or_halves_them() -> None:
    # {a} > {b, c, d}: 3 of C(4,2) = 6 pairs are decided; the other 3 are ties.
    best = answer("a", "dbc")
    decided = [Pair("a", worse, 1.0, 1, 1 / 6) for worse in "bcd"]
    tied = [Pair(one, other, 0.5, 0, 1 / 6) for one, other in ("bc", "bd", "cd")]
    assert pairs(best) == decided
    assert pairs(best, ties="half") == decided + tied


def test_two_clips_weigh_one() -> None:
    assert pairs(answer("b", "a")) == [Pair("b", "a", 1.0, 1, 1.0)]


@pytest.mark.parametrize("ties", ["drop", "half"])
def test_cannot_tell_is_no_pair(ties: str) -> None:
    assert pairs(answer(), ties=ties) == []  # type: ignore[arg-type]


def test_an_unknown_tie_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match="ties is 'keep'; wanted 'drop' or 'half'"):
        pairs(answer("a", "b"), ties="keep")  # type: ignore[arg-type]


@given(
    st.permutations("abcdefghi").flatmap(lambda order: st.lists(st.sampled_from(order), min_size=2, unique=True)),
    st.randoms(),
)
def test_pairs_equal_the_definition(order: list[str], rng) -> None:  # type: ignore[no-untyped-def]
    tiers: list[str] = []
    for candidate in order:
        if tiers and rng.random() < 0.4:
            tiers[-1] += candidate
        else:
            tiers.append(candidate)
    tier = {candidate: i for i, group in enumerate(tiers) for candidate in group}
    slow = {(a, b, tier[b] - tier[a]) for a in tier for b in tier if tier[a] < tier[b]}
    strict, halves = pairs(answer(*tiers)), pairs(answer(*tiers), ties="half")
    assert {(p.better, p.worse, p.distance) for p in strict} == slow
    assert len(strict) == len(slow)
    assert len(halves) == math.comb(len(order), 2)
    assert math.isclose(sum(p.weight for p in halves), 1.0)
    assert all(p.target == (1.0 if p.distance else 0.5) for p in halves)
