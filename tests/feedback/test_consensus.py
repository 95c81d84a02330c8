"""Consensus by hand, on textbook elections, against a slow version, and with unreliable labellers."""

from __future__ import annotations

import random
import sys
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backflip.errors import ConfigError, DataError, DependencyError
from backflip.feedback.consensus import bradley_terry, consensus, ranked_pairs
from backflip.feedback.workers import Reliability, reliabilities, vote_weights
from backflip.records import Answer, Labeller

rankings = st.lists(st.permutations("abcd").map("".join), min_size=1, max_size=9)


def said(question: str, who: str, ranking: str) -> Answer:
    tiers = tuple(tuple(tier) for tier in ranking.split(">")) if ranking else ()
    return Answer(question, Labeller(who, "person"), tiers)


def election(*votes: str, times: tuple[int, ...] = ()) -> list[Answer]:
    counts = times or (1,) * len(votes)
    every = [vote for vote, count in zip(votes, counts, strict=True) for _ in range(count)]
    return [said("1", f"voter {i}", ">".join(vote) if ">" not in vote else vote) for i, vote in enumerate(every)]


def order(answers: list[Answer]) -> str:
    return ">".join("".join(tier) for tier in ranked_pairs(answers).tiers)


def test_the_tennessee_election() -> None:
    # The usual textbook case: Nashville beats each other town, though only 26 % have it first.
    votes = election("MNCK", "NCKM", "CKNM", "KCNM", times=(42, 26, 15, 17))
    assert order(votes) == "N>C>K>M"
    assert bradley_terry(votes).tiers[0] == ("N",)


def test_a_circle_is_cut_where_it_is_narrowest() -> None:
    # a beats b 7:2, b beats c 6:3 and c beats a 5:4: the last is skipped.
    assert order(election("abc", "bca", "cab", times=(4, 2, 3))) == "a>b>c"


def test_a_perfect_circle_is_a_tie() -> None:
    answers = election("abc", "bca", "cab")
    assert order(answers) == "abc"
    assert bradley_terry(answers).tiers == (("a", "b", "c"),)
    assert ranked_pairs(answers).sure == ()


def test_ties_and_cannot_tell() -> None:
    assert order(election("a>bc", "ab>c")) == "a>b>c"  # ab: 1.5 to 0.5, bc: the same, ac: 2 to 0
    assert order([*election("ab"), said("1", "z", "")]) == "a>b"
    with pytest.raises(DataError, match="one question"):
        ranked_pairs([said("1", "x", "")])
    with pytest.raises(DataError, match="to 2 questions"):
        ranked_pairs([said("1", "x", "a>b"), said("2", "x", "a>b")])
    assert consensus([said("1", "x", "")]) == {}
    with pytest.raises(ConfigError, match="ranked_pairs"):
        consensus([], method="borda")  # type: ignore[arg-type]


def test_how_sure_by_hand() -> None:
    # Three votes to none: the upper half of Beta(4, 1), 1 - 1/2^4. Two to one: Beta(3, 2), 1 - 5/16.
    assert ranked_pairs(election("ab", "ab", "ab")).sure == (pytest.approx(15 / 16),)
    assert ranked_pairs(election("ab", "ab", "ba")).sure == (pytest.approx(11 / 16),)
    sure, surer = bradley_terry(election("ab", "ab", "ba")).sure[0], bradley_terry(election("ab", times=(9,))).sure[0]
    assert 0.5 < sure < surer < 1


def slow_ranked_pairs(votes: list[str]) -> str:
    """Tideman word for word, for elections whose margins all differ."""
    margin = {(a, b): sum(v.index(a) < v.index(b) for v in votes) * 2 - len(votes) for a, b in permutations("abcd", 2)}
    locked: set[tuple[str, str]] = set()
    for a, b in sorted((p for p in margin if margin[p] > 0), key=lambda p: -margin[p]):
        seen, todo = set(), [b]
        while todo:
            here = todo.pop()
            seen.add(here)
            todo += [y for x, y in locked if x == here and y not in seen]
        if a not in seen:
            locked.add((a, b))
    return next("".join(o) for o in permutations("abcd") if all(o.index(a) < o.index(b) for a, b in locked))


def test_equals_the_slow_version_where_no_two_margins_are_equal() -> None:
    draw, seen = random.Random(0), 0
    while seen < 40:
        votes = ["".join(draw.sample("abcd", 4)) for _ in range(31)]
        margins = [
            abs(2 * sum(v.index(a) < v.index(b) for v in votes) - 31) for a, b in ("ab", "ac", "ad", "bc", "bd", "cd")
        ]
        if len(set(margins)) == 6:
            seen += 1
            assert order(election(*votes)).replace(">", "") == slow_ranked_pairs(votes)


@given(rankings)
@settings(max_examples=60, deadline=None)
def test_who_beats_each_other_one_is_first_and_names_decide_nothing(votes: list[str]) -> None:
    answers = election(*votes)
    for candidate in "abcd":
        if all(2 * sum(v.index(candidate) < v.index(o) for v in votes) > len(votes) for o in "abcd" if o != candidate):
            assert ranked_pairs(answers).tiers[0] == (candidate,)
    turn = str.maketrans("abcd", "dcab")
    renamed = election(*(v.translate(turn) for v in votes))
    for method in (ranked_pairs, bradley_terry):
        there = [sorted(c.translate(turn) for c in tier) for tier in method(answers).tiers]
        assert there == [sorted(tier) for tier in method(renamed).tiers]
    backwards = order(election(*(v[::-1] for v in votes)))
    assert backwards.split(">")[::-1] == order(answers).split(">")


@given(st.permutations("abcd"), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_a_ranking_that_all_share_is_the_consensus(ranking: list[str], times: int) -> None:
    for method in (ranked_pairs, bradley_terry):
        assert method(election("".join(ranking), times=(times,))).tiers == tuple((c,) for c in ranking)


def crowd(*, pairs: int, seed: int) -> tuple[list[Answer], dict[str, float]]:
    draw = random.Random(seed)
    rates = {"good": 0.95, "fair": 0.8, "guess": 0.5, "guess too": 0.5, "contrary": 0.15}
    answers = [
        said(str(i), who, "a>b" if draw.random() < rate else "b>a") for i in range(pairs) for who, rate in rates.items()
    ]
    return answers, rates


def test_reliabilities_are_recovered() -> None:
    answers, rates = crowd(pairs=400, seed=0)
    found = reliabilities(answers)
    assert {who: r.right for who, r in found.items()} == pytest.approx(rates, abs=0.06)
    assert found["good"].pairs == 400
    assert reliabilities([said("1", "x", "ab")]) == {}


def test_weighing_votes_beats_counting_heads() -> None:
    answers, _ = crowd(pairs=400, seed=1)
    weights = vote_weights(reliabilities(answers))
    assert np.mean(list(weights.values())) == pytest.approx(1)

    def right(weights: dict[str, float] | None) -> float:
        return float(np.mean([c.tiers[0] == ("a",) for c in consensus(answers, weights=weights).values()]))

    # Heads: five votes of 0.95, 0.8, 0.5, 0.5 and 0.15; weighed: the good one's word, nearly.
    assert right(weights) > 0.92
    assert right(weights) > right(None) + 0.1


def test_weights_of_guessers_are_none() -> None:
    assert vote_weights({"a": Reliability(0.5, 9), "b": Reliability(0.5, 9)}) == {"a": 1.0, "b": 1.0}
    assert vote_weights({"a": Reliability(0.4, 9), "b": Reliability(0.9, 9)}) == {"a": 0.0, "b": 2.0}
    assert vote_weights({}) == {}


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(DependencyError, match=r"backflip\[studio\]"):
        ranked_pairs(election("abc"))
