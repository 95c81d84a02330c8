"""Agreement by hand, against slow versions, and on published values."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backflip.errors import DataError
from backflip.feedback.quality import (
    agreement,
    agreement_by_group,
    agreement_by_labeller,
    ceiling,
    kendall_tau,
    krippendorff_alpha,
    preference_alpha,
    wilson,
)
from backflip.records import Answer, Labeller


def said(question: str, who: str, ranking: str, **groups: str) -> Answer:
    """ "a>bc" is a first, b and c tied; "" is cannot tell."""
    tiers = tuple(tuple(tier) for tier in ranking.split(">")) if ranking else ()
    return Answer(question, Labeller(who, "person", groups), tiers)


def test_agreement_by_hand() -> None:
    answers = [
        said("1", "x", "a>b>c"),
        said("1", "y", "a>c>b"),  # agrees on ab, ac; not on bc: 2 of 3
        said("2", "x", "a>b"),
        said("2", "y", "a>b"),  # 1 of 1
        said("2", "z", "ab"),  # a tie: agrees with neither, 0 of 2
        said("3", "x", "a>b"),  # alone
        said("4", "x", "a>b"),
        said("4", "y", ""),  # cannot tell says nothing
    ]
    rate = agreement(answers)
    assert (rate.value, rate.comparisons, rate.questions) == (3 / 6, 6, 2)
    dropped = agreement(answers, ties="drop")
    assert (dropped.value, dropped.comparisons, dropped.questions) == (3 / 4, 4, 2)
    # Resampling two questions gives only 2/3 twice, both (3/6) or 1/3 twice: the interval is its ends.
    assert rate.low == pytest.approx(1 / 3)
    assert rate.high == pytest.approx(2 / 3)


def test_agreement_by_labeller_and_group() -> None:
    answers = [
        said("1", "x", "a>b", language="en"),
        said("1", "y", "a>b", language="en"),
        said("1", "z", "b>a", language="zh"),
        said("2", "x", "a>b", language="en"),
        said("2", "z", "a>b", language="zh"),
        said("3", "w", "a>b"),
    ]
    # x: with y yes, with z no and yes = 2/3; y: with x yes, with z no = 1/2; z: no, no, yes = 1/3; w shares nothing.
    by_labeller = agreement_by_labeller(answers)
    assert {k: r.value for k, r in by_labeller.items()} == pytest.approx({"x": 2 / 3, "y": 1 / 2, "z": 1 / 3})
    by_group = agreement_by_group(answers, "language")
    # en-en: xy on 1 = 1/1; en-zh: xz no, yz no on 1, xz yes on 2 = 1/3.
    assert {k: (r.value, r.comparisons) for k, r in by_group.items()} == {
        ("en", "en"): (1.0, 1),
        ("en", "zh"): (pytest.approx(1 / 3), 3),
    }


def test_nobody_agrees_with_themselves() -> None:
    with pytest.raises(DataError, match="overlap 2"):
        agreement([said("1", "x", "a>b"), said("1", "x", "a>b")])


def test_ceiling_by_hand() -> None:
    answers = [said("1", "x", "a>b"), said("1", "y", "a>b"), said("1", "z", "b>a"), said("1", "w", "ab")]
    # x: others y +1, z -1, w 0: split, left out. y: the same. z: others x, y, w say a: wrong. w: a tie, left out.
    rate = ceiling(answers)
    assert (rate.value, rate.comparisons) == (0.0, 1)
    # Three to one: each of the three is foretold by the other two (2 against 1), the one is not: 3/4.
    assert ceiling([*answers[:3], said("1", "w", "a>b")]).value == 3 / 4


def test_ceiling_of_two_is_their_strict_agreement() -> None:
    answers = [
        said(str(i), who, r)
        for i, row in enumerate(["a>b a>b", "a>b b>a", "b>a b>a"])
        for who, r in zip("xy", row.split(), strict=True)
    ]
    assert ceiling(answers).value == pytest.approx(2 / 3)
    assert agreement(answers, ties="drop").value == pytest.approx(2 / 3)


def test_alpha_on_krippendorffs_own_example() -> None:
    # Krippendorff (2011), C: four observers, twelve units, nominal, missing data: alpha = 0.743.
    observers = [
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    ]
    units = [[v for v in unit if v != "."] for unit in zip(*(o.split() for o in observers), strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


@given(st.lists(st.lists(st.integers(0, 2), max_size=5), min_size=1, max_size=12))
def test_alpha_equals_the_coincidence_matrix(units: list[list[int]]) -> None:
    units = [u for u in units if len(u) > 1]
    if len({v for u in units for v in u}) < 2:
        return
    # The slow way: every ordered pair of values in a unit, weighed 1/(m-1), against every pair in the whole.
    observed = sum((u[i] != u[j]) / (len(u) - 1) for u in units for i in range(len(u)) for j in range(len(u)) if i != j)
    pool = [v for u in units for v in u]
    expected = sum(x != y for i, x in enumerate(pool) for j, y in enumerate(pool) if i != j) / (len(pool) - 1)
    assert krippendorff_alpha(units) == pytest.approx(1 - observed / expected, abs=1e-12)


def test_alpha_at_the_edges() -> None:
    assert math.isnan(krippendorff_alpha([[1, 1], [1, 1]]))
    assert krippendorff_alpha([[1, 1], [2, 2]]) == 1
    with pytest.raises(DataError, match="two values"):
        krippendorff_alpha([[1], []])


def test_preference_alpha_does_not_depend_on_names() -> None:
    rows = [("a>b", "a>b"), ("a>b", "b>a"), ("a>b", "a>b"), ("ab", "a>b")]
    answers = [said(str(i), who, r) for i, row in enumerate(rows) for who, r in zip("xy", row, strict=True)]
    swapped = [
        said(a.question, a.labeller.id, "".join(r).translate(str.maketrans("ab", "ba")))
        for a in answers
        for r in [">".join("".join(t) for t in a.tiers)]
    ]
    # Both ways round 16 values: better 7, worse 7, tie 2; expected (256 - 49 - 49 - 4)/15 = 154/15; observed: the two
    # questions in dispute give 2 ordered pairs each, twice = 8. alpha = 1 - 8 * 15 / 154.
    assert preference_alpha(answers) == pytest.approx(1 - 120 / 154)
    assert preference_alpha(swapped) == pytest.approx(preference_alpha(answers), abs=1e-15)


def test_kendall_tau_by_hand() -> None:
    assert kendall_tau(said("1", "x", "a>b>c"), said("1", "y", "a>b>c")) == 1
    assert kendall_tau(said("1", "x", "a>b>c"), said("1", "y", "c>b>a")) == -1
    # One of six pairs is turned: (5 - 1) / 6.
    assert kendall_tau(said("1", "x", "a>b>c>d"), said("1", "y", "b>a>c>d")) == pytest.approx(4 / 6)
    # x has 2 untied pairs (ab, ac), y has 3, both agree on 2: 2 / sqrt(2 * 3).
    assert kendall_tau(said("1", "x", "a>bc"), said("1", "y", "a>b>c")) == pytest.approx(2 / math.sqrt(6))
    assert math.isnan(kendall_tau(said("1", "x", "abc"), said("1", "y", "a>b>c")))
    with pytest.raises(DataError, match="one question"):
        kendall_tau(said("1", "x", "a>b"), said("2", "y", "a>b"))


@given(st.permutations("abcde"), st.permutations("abcde"))
@settings(max_examples=25, deadline=None)
def test_kendall_tau_of_full_orders_counts_inversions(left: list[str], right: list[str]) -> None:
    a, b = said("1", "x", ">".join(left)), said("1", "y", ">".join(right))
    turned = sum(
        (left.index(i) < left.index(j)) != (right.index(i) < right.index(j)) for i, j in combinations("abcde", 2)
    )
    assert kendall_tau(a, b) == pytest.approx(1 - 2 * turned / 10, abs=1e-12)
    assert agreement([a, b]).value == pytest.approx((10 - turned) / 10)


def test_wilson_interval() -> None:
    # 8 of 10: centre (0.8 + 0.19207) / (1 + 0.38415) = 0.71675;
    # half 1.959964 * sqrt(0.016 + 0.0096036) / 1.38415 = 0.22658.
    assert wilson(8, 10) == pytest.approx((0.49017, 0.94333), abs=2e-5)
    assert wilson(0, 5)[0] == 0.0
    assert wilson(5, 5)[1] == 1.0
    with pytest.raises(DataError, match="trial"):
        wilson(1, 0)
