"""What the Quality page shows: pace, position bias, gold questions, disputes, and who answers at random; by hand."""

from __future__ import annotations

import math
import random
from itertools import permutations

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from backflip.errors import DataError
from backflip.feedback.oracle import SimulatedLabeller
from backflip.feedback.quality import (
    agreement,
    answers_at_random,
    answers_by_day,
    by_group,
    by_labeller,
    ceiling,
    ceiling_by_group,
    ceiling_by_labeller,
    disputed,
    gold_by_labeller,
    kendall_tau,
    krippendorff_alpha,
    labeller_matrix,
    mean_tau,
    outliers,
    pace,
    position_bias,
    position_table,
)
from backflip.feedback.quality.agreement import Told
from backflip.feedback.quality.chance import variance
from backflip.records import Answer, Candidate, Labeller, LabellerKind, Prompt, Question


def said(
    question: str,
    who: str,
    ranking: str,
    *,
    kind: LabellerKind = "person",
    shown: str = "",
    seconds: float | None = None,
    time: str = "",
    **groups: str,
) -> Answer:
    """ "a>bc" is a first, b and c tied; "" is cannot tell."""
    tiers = tuple(tuple(tier) for tier in ranking.split(">")) if ranking else ()
    who_said = Labeller(who, kind, groups)
    return Answer(question, who_said, tiers, shown=tuple(shown), seconds=seconds, time=time)


# --- pace


def test_pace_by_hand() -> None:
    answers = [said(str(i), "x", "a>b", seconds=s) for i, s in enumerate([2, 4, 4, 4, 6])]
    # sorted 2 4 4 4 6: the quartiles are the 2nd, 3rd and 4th; the fences meet there, so nothing stands out.
    found = pace([*answers, said("n", "x", "a>b")])
    assert (found.answers, found.timed, found.lower, found.median, found.upper) == (6, 5, 4, 4, 4)
    assert found.per_hour == pytest.approx(3600 * 5 / 20)
    assert (found.fast, found.slow) == (0, 0)


def test_a_page_left_open_is_no_work_and_a_click_at_once_stands_out() -> None:
    times = [4, 4.5, 5, 5.5, 6, 4.2, 5.8, 5.1, 0.1, 30_000]
    answers = [said(str(i), "x", "a>b", seconds=s) for i, s in enumerate(times)]
    assert [(o.question, o.kind) for o in outliers(answers)] == [("8", "fast"), ("9", "slow")]
    found = pace(answers)
    assert (found.fast, found.slow) == (1, 1)
    assert 600 < found.per_hour < 800  # 10 answers in 8 times some 5 s, and one fence of 9 s


def test_pace_without_times() -> None:
    found = pace([said("1", "x", "a>b")])
    assert (found.answers, found.timed) == (1, 0)
    assert math.isnan(found.median)
    assert outliers([said("1", "x", "a>b")]) == []
    days = ["2026-01-02T23:59:00Z", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", ""]
    counted = answers_by_day(said(str(i), "x", "a>b", time=t) for i, t in enumerate(days))
    assert counted == {"2026-01-01": 1, "2026-01-02": 2}


def test_by_labeller_and_group() -> None:
    answers = [said("1", "y", "a>b", language="zh"), said("1", "x", "a>b"), said("2", "y", "a>b", language="zh")]
    assert {who: len(own) for who, own in by_labeller(answers).items()} == {"x": 1, "y": 2}
    assert {group: len(own) for group, own in by_group(answers, "language").items()} == {"": 1, "zh": 2}


# --- position


def test_position_bias_by_hand() -> None:
    answers = [
        said("1", "x", "a>b", shown="ab"),  # the earlier is better: 1 of 1
        said("2", "x", "b>a", shown="ba"),  # 1 of 1
        said("3", "x", "a>b", shown="ba"),  # 0 of 1
        said("4", "x", "a>bc", shown="abc"),  # ab, ac: 2 of 2
        said("5", "x", "ab", shown="ab"),  # a tie: no pair; shares the best
        said("6", "x", "", shown="ab"),  # cannot tell
        said("7", "x", "a>b"),  # nobody knows what was shown
    ]
    bias = position_bias(answers)
    assert bias.earlier[0] == 4 / 5
    assert bias.earlier.comparisons == 5
    # First shown is best: 1, 1, 0, 1, 1/2 of five; chance 1/2 four times and 1/3 once.
    assert (bias.first, bias.chance) == (pytest.approx(3.5 / 5), pytest.approx((4 / 2 + 1 / 3) / 5))
    # Three of four answers favour the earlier: two-sided 2 * (4 + 1) / 16.
    assert bias.p_value == pytest.approx(10 / 16)
    table = position_table(answers)
    # K = 2: rows first shown, second shown; 1 and 2 give the first rank 1, 3 rank 2, 5 shares.
    assert table[2].tolist() == [[2.5, 1.5], [1.5, 2.5]]
    assert table[3].tolist() == [[1, 0, 0], [0, 0.5, 0.5], [0, 0.5, 0.5]]
    with pytest.raises(DataError, match="shown order"):
        position_bias([said("7", "x", "a>b")])


def test_who_always_takes_the_left_is_found() -> None:
    draw = random.Random(0)
    left, fair = [], []
    for i in range(60):
        shown = "ab" if draw.random() < 0.5 else "ba"
        left.append(said(str(i), "x", ">".join(shown), shown=shown))
        fair.append(said(str(i), "y", "a>b", shown=shown))
    assert position_bias(left).p_value < 1e-12
    assert position_bias(fair).p_value > 0.05
    assert position_bias(fair).earlier.low < 0.5 < position_bias(fair).earlier.high


# --- gold


def test_gold_by_hand() -> None:
    answers = [
        said("1", "maker", "a>b>c", kind="maker"),
        said("2", "maker", "a>bc", kind="maker"),
        said("3", "maker", "", kind="maker"),
        said("1", "x", "a>b>c"),  # passes
        said("2", "x", "a>c>b"),  # passes: the reference ties b and c
        said("3", "x", "a>b"),  # fails: nobody can tell
        said("1", "y", "a>c>b"),  # fails: 2 of 3 pairs
        said("2", "y", "ab>c"),  # fails: a tie where the reference is strict
        said("3", "y", ""),  # passes
        said("4", "y", "a>b"),  # no reference
        said("5", "z", "a>b"),
    ]
    marks = gold_by_labeller(answers)
    assert {who: (m.passed, m.asked, m.failed) for who, m in marks.items()} == {
        "x": (2, 3, ("3",)),
        "y": (1, 3, ("1", "2")),
    }
    assert marks["x"].low == pytest.approx(0.2077, abs=1e-3)  # Wilson's of 2 of 3
    assert gold_by_labeller(answers, share=0.6)["y"].failed == ("2",)  # 2 of 3 pairs suffice, 1 of 2 do not
    again = [*answers, said("1", "maker two", "a>c>b", kind="maker")]
    assert gold_by_labeller(again)["y"].failed == ("2",)  # one of two references is enough


# --- who with whom, disputes, ceilings


def test_matrix_disputes_and_ceilings_by_hand() -> None:
    answers = [
        said("1", "x", "a>b", region="n"),
        said("1", "y", "a>b", region="n"),
        said("1", "z", "b>a", region="s"),
        said("2", "x", "a>b", region="n"),
        said("2", "z", "a>b", region="s"),
        said("3", "x", "a>b>c", region="n"),
        said("3", "y", "c>b>a", region="n"),
    ]
    matrix = labeller_matrix(answers)
    # xy: 1 yes, 3 no on three pairs: 1 of 4. xz: no, yes. yz: no.
    assert {pair: (r.value, r.comparisons) for pair, r in matrix.items()} == {
        ("x", "y"): (1 / 4, 4),
        ("x", "z"): (1 / 2, 2),
        ("y", "z"): (0.0, 1),
    }
    # 3: all three pairs differ. 1: xz and yz of three comparisons. 2 is not disputed.
    worst = disputed(answers)
    assert [(d.question, d.disagreement, d.comparisons, d.labellers) for d in worst] == [
        ("3", 1.0, 3, 2),
        ("1", pytest.approx(2 / 3), 3, 3),
    ]
    assert disputed(answers, limit=1) == worst[:1]
    # Question 1: x is foretold by y and z: split, out. z by x and y: wrong. 2: both right. 3: none of three, each.
    ceilings = ceiling_by_labeller(answers)
    assert {who: (r.value, r.comparisons) for who, r in ceilings.items()} == {
        "x": (1 / 4, 4),
        "y": (0.0, 3),
        "z": (1 / 2, 2),
    }
    groups = ceiling_by_group(answers, "region")
    assert {who: (r.value, r.comparisons) for who, r in groups.items()} == {"n": (1 / 7, 7), "s": (1 / 2, 2)}
    assert ceiling(answers).comparisons == 9


# --- who answers at random


def _questions(count: int, candidates: int) -> list[Question]:
    return [
        Question("text", tuple(Candidate(f"answer {j} to {i}") for j in range(candidates)), Prompt.ask(f"question {i}"))
        for i in range(count)
    ]


def _crowd(candidates: int, count: int, *, seed: int) -> list[Answer]:
    """Four who look, more or less sharply, and one who does not look at all."""
    draw = random.Random(seed)
    crowd = [SimulatedLabeller(seed, f"looks {t}", temperature=t) for t in (0.3, 0.5, 0.7, 1.0)]
    blind = SimulatedLabeller(seed, "blind", temperature=1.0)
    answers = []
    for question in _questions(count, candidates):
        scores = {c.id: draw.gauss(0, 1) for c in question.candidates}
        answers += [labeller.answer(question, scores) for labeller in crowd]
        answers.append(blind.answer(question, dict.fromkeys(scores, 0.0)))
    return answers


@pytest.mark.parametrize(("candidates", "count"), [(2, 300), (4, 60)])
def test_a_random_answerer_is_found(candidates: int, count: int) -> None:
    found = answers_at_random(_crowd(candidates, count, seed=1))
    assert [who for who, chance in found.items() if chance.random] == ["blind"]
    blind = found.pop("blind")
    assert blind.p_value > 0.01
    assert blind.rate.low <= 0.5 <= blind.rate.high < blind.others.value
    for chance in found.values():
        assert chance.p_value < 1e-3
        assert chance.rate.low > 0.5


def test_the_p_value_of_random_answers_is_uniform() -> None:
    values = [answers_at_random(_crowd(3, 12, seed=seed))["blind"].p_value for seed in range(60)]
    # Of 60 uniform values the share below 0.3 is 0.3 +- 0.06, and below 0.05 it is above 9 of 60 once in 900 times.
    assert 0.12 < np.mean(np.array(values) < 0.3) < 0.48
    assert np.mean(np.array(values) < 0.05) <= 9 / 60


@given(st.permutations("abcd"), st.lists(st.booleans(), min_size=3, max_size=3), st.data())
@settings(max_examples=20, deadline=None)
def test_the_variance_is_that_of_all_orders(order: list[str], cuts: list[bool], data: st.DataObject) -> None:
    ranking = order[0] + "".join((">" if cut else "") + c for cut, c in zip(cuts, order[1:], strict=True))
    from backflip.feedback.quality.relations import relations

    others = {pair: data.draw(st.sampled_from([-1, 0, 1])) for pair in relations(said("1", "x", "abcd"))}
    sums = []
    for renamed in permutations("abcd"):
        one = said("1", "x", ranking.translate(str.maketrans("abcd", "".join(renamed))))
        sums.append(sum(r * others[pair] for pair, r in relations(one).items()))
    assert np.mean(sums) == pytest.approx(0, abs=1e-12)
    first = said("1", "x", ranking)
    assert variance(Told(first, relations(first), others)) == pytest.approx(np.var(sums), abs=1e-9)


# --- equal to the libraries


@given(st.lists(st.lists(st.integers(0, 3), max_size=5), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_alpha_equals_the_library(units: list[list[int]]) -> None:
    units = [u for u in units if len(u) > 1]
    if len({v for u in units for v in u}) < 2:
        return
    counts = np.array([[u.count(v) for v in range(4)] for u in units])
    wanted = krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")
    assert krippendorff_alpha(units) == pytest.approx(wanted, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=6))
@settings(max_examples=40, deadline=None)
def test_tau_equals_the_library(tiers: list[tuple[int, int]]) -> None:
    names = "abcdef"[: len(tiers)]

    def answer(side: int) -> Answer:
        of = {n: t[side] for n, t in zip(names, tiers, strict=True)}
        return said(
            "1", "xy"[side], ">".join("".join(n for n in names if of[n] == t) for t in sorted(set(of.values())))
        )

    wanted = kendalltau([t[0] for t in tiers], [t[1] for t in tiers]).statistic
    assert kendall_tau(answer(0), answer(1)) == pytest.approx(wanted, abs=1e-12, nan_ok=True)


def test_mean_tau_leaves_out_what_has_none() -> None:
    answers = [said("1", "x", "a>b"), said("1", "y", "b>a"), said("2", "x", "a>b"), said("2", "y", "a>b")]
    assert mean_tau([*answers, said("3", "x", "ab"), said("3", "y", "a>b")]) == 0.0
    assert math.isnan(mean_tau(answers[:1]))
    assert agreement(answers).value == 0.5
