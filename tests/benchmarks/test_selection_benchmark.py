"""The selection benchmark's arithmetic, and that it learns, on pools small enough to be quick."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

PROGRAMS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PROGRAMS)


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_labels_needed_by_hand() -> None:
    needed = module("selection").labels_needed
    assert needed([20, 40, 60], np.array([0.5, 0.6, 0.8]), 0.7) == pytest.approx(50)
    assert needed([20, 40, 60], np.array([0.5, 0.6, 0.8]), 0.4) == 20
    assert needed([20, 40, 60], np.array([0.5, 0.6, 0.8]), 0.9) == math.inf
    # 0.8 and 0.6 are made 0.7 each: reached at the first of them.
    assert needed([20, 40, 60], np.array([0.5, 0.8, 0.6]), 0.7) == pytest.approx(40)


def test_the_fit_is_the_maximum() -> None:
    pools = module("pools")
    draw = np.random.default_rng(0)
    rows, share = draw.normal(size=(40, 3)), draw.random(40)
    found = pools.fit(rows, share, decay=0.5)
    wrong = 1 / (1 + np.exp(rows @ found))
    np.testing.assert_allclose(rows.T @ (share * wrong), 0.5 * found, atol=1e-8)


def test_it_learns_and_random_is_its_own_measure() -> None:
    pools, selection = module("pools"), module("selection")
    config = selection.Config(seeds=3, start=20, batch=20, budget=100, members=3)
    curves = {
        method: np.array(
            [
                selection.learn(
                    pools.simulated_pool("rankings", seed=s, asked=150, held_out=60), method, config, seed=s
                )
                for s in range(3)
            ]
        )
        for method in ("random", "information")
    }
    assert curves["random"].shape == (3, 5)
    assert (curves["random"][:, 0] == curves["information"][:, 0]).all()  # the same first questions
    assert curves["random"][:, -1].mean() > curves["random"][:, 0].mean() > 0.6
    found = selection.summary([20, 40, 60, 80, 100], curves, (60, 400))
    assert [t["random_labels"] for t in found["targets"]] == [60]
    assert found["targets"][0]["labels"]["random"]["value"] <= 60
    assert found["methods"]["random"]["gain_over_random"] == {"value": 0, "low": 0, "high": 0}


def test_the_encoder_tells_texts_apart() -> None:
    encode = module("text_features").encode
    texts = [f"word{i % 7} and word{i % 3}, {'a b c ' * (i % 5)}." for i in range(40)]
    features = encode(["word1?"] * 40, texts, components=4)
    assert features.shape == (40, 17)
    assert np.isfinite(features).all()
    assert np.abs(features.mean(axis=0)).max() < 1e-9
