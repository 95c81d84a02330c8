"""The comparison of rankings and ratings: the raters are as said, and each arm reads what it should."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

PROGRAMS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(PROGRAMS)
    return importlib.import_module("rank_or_rate")


def test_raters_have_scales_of_their_own(bench: ModuleType) -> None:
    truth = np.eye(20)[0]
    said = bench._ask(bench.Condition(raters=8, spread=0.0, offset=2.0), truth, 600, np.random.default_rng(0))
    assert set(np.unique(said.ratings)) == {1, 2, 3, 4, 5, 6, 7}
    means = [said.ratings[said.rater == r].mean() for r in range(8)]
    assert max(means) - min(means) > 1
    normalised = bench._normalised(said)
    for r in range(8):
        own = normalised[said.rater == r]
        assert (own.mean(), own.std()) == (pytest.approx(0, abs=1e-12), pytest.approx(1))
    # Within a question the order of what is felt is the order of the ratings, as far as they tell it.
    felt, ratings = np.sign(np.diff(said.felt, axis=1)), np.sign(np.diff(said.ratings, axis=1))
    assert ((felt == ratings) | (ratings == 0)).all()


def test_each_arm_learns_and_ratings_of_one_scale_tell_more(bench: ModuleType) -> None:
    config = bench.Config(seeds=1, budgets=(60, 240), held_out=100)
    shared = bench.CONDITIONS["one scale, little noise"]
    rows = np.mean([bench.accuracies(shared, config, seed=seed) for seed in range(3)], axis=0)
    assert rows.shape == (4, 2)
    assert (rows > 0.8).all()
    assert (rows[:, 1] > rows[:, 0]).all()
    rank, rate = rows[0, 0], rows[1, 0]
    assert rate > rank
    wild = replace(shared, offset=3.0, spread=0.0, raters=200)
    rows = np.mean([bench.accuracies(wild, config, seed=seed) for seed in range(3)], axis=0)
    assert rows[0, 0] > rows[1, 0]  # a scale of one's own costs ratings, and not rankings


def test_the_summary_finds_where_an_arm_matches(bench: ModuleType) -> None:
    # Of two seeds alike: at the middle budget (20) rank has 0.8; the others reach it at 10, 15 and never.
    rows = np.array([[[0.6, 0.8, 0.9], [0.8, 0.9, 0.9], [0.7, 0.9, 0.9], [0.5, 0.6, 0.7]]] * 2)
    found = bench.summary(rows, (10, 20, 40))
    matched = {arm: found["questions_to_match"][arm]["value"] for arm in bench.ARMS[1:]}
    assert matched == {"rate": 10, "normalised": pytest.approx(15), "compared": None}
    assert found["rank_less"]["rate"][0]["value"] == pytest.approx(-0.2)
