"""Ratings, length-controlled win rates and over-optimisation, against hand arithmetic and slow versions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from backflip.errors import DataError
from backflip.evaluation.overoptimisation import Point, advice, best_of_n, best_of_n_points, ppo_points
from backflip.evaluation.ratings import ELO, Verdicts, bradley_terry, length_controlled, ratings


def test_two_models_by_hand() -> None:
    # 3 wins of 4 without a prior: odds of three to one.
    strength = bradley_terry(np.array([[0.0, 3.0], [1.0, 0.0]]), prior=0.0)
    assert strength[0] - strength[1] == pytest.approx(math.log(3))


def test_the_maximum_of_the_likelihood() -> None:
    """At the maximum each model's expected points are its points."""
    wins = np.array([[0, 5, 2.5], [3, 0, 6], [4.5, 1, 0]])
    strength = bradley_terry(wins, prior=0.0)
    chance = 1 / (1 + np.exp(strength[None, :] - strength[:, None]))
    np.fill_diagonal(chance, 0)
    assert ((wins + wins.T) * chance).sum(axis=1) == pytest.approx(wins.sum(axis=1), abs=1e-6)


def test_ratings_recover_known_strengths() -> None:
    draw = np.random.default_rng(1)
    names, true = ["base", "sft", "ppo"], [1000.0, 1100.0, 1300.0]
    prompts = []
    for _ in range(600):
        row = {}
        for i, j in itertools.combinations(range(3), 2):
            row[names[i], names[j]] = float(draw.random() < 1 / (1 + math.exp((true[j] - true[i]) / ELO)))
        prompts.append(row)
    found = ratings(names, prompts)
    assert found["base"][:3] == (1000.0, 1000.0, 1000.0)
    for name, value in zip(names, true, strict=True):
        assert found[name].low <= value <= found[name].high
        assert found[name].high - found[name].low < 120
    with pytest.raises(DataError, match="1 models"):
        ratings(["a"], prompts)


def test_length_control_takes_the_length_out() -> None:
    """The verdicts follow length alone: the raw rate is high because we write more, at equal lengths it is even."""
    draw = np.random.default_rng(2)
    prompts = []
    for _ in range(400):
        longer = draw.normal(30, 30, size=4)
        points = (draw.random(4) < 1 / (1 + np.exp(-3 * np.tanh(longer / 30)))).astype(float)
        prompts.append(Verdicts(points, longer))
    raw = float(np.mean([np.mean(v.points) for v in prompts]))
    found = length_controlled(prompts)
    assert raw > 0.75
    assert found is not None
    assert found.low < 0.5 < found.high
    assert length_controlled([]) is None


def test_best_of_n_is_the_mean_over_all_draws() -> None:
    proxy, gold = [0.3, 0.1, 0.3, 0.9, -1.0], [1.0, 2.0, 4.0, 8.0, 16.0]
    for n in range(1, 6):
        values = []
        for draw in itertools.combinations(range(5), n):
            top = max(proxy[i] for i in draw)
            ties = [gold[i] for i in draw if proxy[i] == top]
            values.append(sum(ties) / len(ties))
        assert best_of_n(proxy, gold, n) == pytest.approx(sum(values) / len(values))
    points = best_of_n_points([proxy], [gold])
    assert [p.at for p in points] == [1, 2, 4, 5]
    assert points[0].kl == 0.0
    assert points[0].judge == pytest.approx(6.2)
    with pytest.raises(DataError, match="best of 6"):
        best_of_n(proxy, gold, 6)


def test_ppo_points_and_advice() -> None:
    metrics = [
        {"step": 0, "judge/score": 0.5},
        {"step": 1, "objective/kl": 0.0, "objective/score": 1.0},
        {"step": 2, "objective/kl": 4.0, "objective/score": 2.0, "judge/score": 0.8},
        {"step": 3, "objective/kl": 9.0, "objective/score": 3.0},
        {"step": 4, "objective/kl": 16.0, "objective/score": 4.0, "judge/score": 0.6},
    ]
    points = ppo_points(metrics)
    assert [(p.at, p.kl, p.proxy, p.judge) for p in points] == [
        (0, 0.0, 1.0, 0.5),
        (1, 4.0, 2.0, None),
        (2, 9.0, 3.0, 0.8),
        (3, 16.0, 4.0, None),
        (4, 16.0, 4.0, 0.6),
    ]
    assert points[2].distance == 3.0
    found = advice(points)
    assert found is not None
    assert (found.stop_at, found.over) == (2, True)
    assert str(found).startswith("stop at update 2 (KL 9.0 nats)")
    assert found.judge_loss == pytest.approx(0.2)
    assert not advice(points, noise=0.3).over  # type: ignore[union-attr]
    assert advice([Point(0, 0.0, 1.0, None)]) is None
