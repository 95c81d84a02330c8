"""Ratios to the true reward, done by hand; and the table of eight tasks."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments import mujoco
from experiments.ratios import LEAST, ratios


def _row(env: str, reward: str, value: float, **more: Any) -> dict[str, Any]:
    return {"env": env, "reward": reward, "answers": 0, "mistakes": None, "true_return": value, **more}


def test_a_ratio_is_shifted_by_the_random_policy_and_the_mean_is_geometric() -> None:
    rows = [
        *(_row("A", "random", value) for value in (9, 11)),  # mean 10
        *(_row("A", "true", value) for value in (100, 120)),  # mean 110
        *(_row("A", "answers", value, answers=700, mistakes=0.0) for value in (50, 70)),  # mean 60: (60 - 10) / 100
        _row("B", "random", -5),
        _row("B", "true", 5),
        _row("B", "answers", 15, answers=700, mistakes=0.0),  # 20 / 10
        _row("C", "answers", 1, answers=700, mistakes=0.0),  # nothing to hold it against
        _row("B", "answers", 0, answers=700, mistakes=0.1),  # 5 / 10
    ]
    found = ratios(rows)
    assert set(found) == {"answers 700", "answers 700, 10 % wrong"}
    assert set(found["answers 700"].tasks) == {"A", "B"}
    a, b = found["answers 700"].tasks.values()
    assert (a.value, b.value) == pytest.approx((0.5, 2.0))
    assert found["answers 700"].mean == pytest.approx(math.sqrt(0.5 * 2))
    # the seeds' extremes: (50 - 11) / (120 - 11) to (70 - 9) / (100 - 9)
    assert 39 / 109 <= a.low < 0.5 < a.high <= 61 / 91
    assert (b.low, b.high, a.seeds, b.seeds) == (2, 2, 2, 1)
    assert found["answers 700, 10 % wrong"].mean == pytest.approx(0.5)


def test_what_has_no_logarithm_counts_little_and_what_has_no_gain_nothing() -> None:
    rows = [
        _row("A", "random", 0),
        _row("A", "true", 10),
        _row("A", "answers", -3, answers=700, mistakes=0.0),
        _row("B", "random", 4),
        _row("B", "true", 3),
        _row("B", "answers", 9, answers=700, mistakes=0.0),
    ]
    found = ratios(rows)["answers 700"]
    assert found.tasks["A"].value == pytest.approx(-0.3)
    assert math.isnan(found.tasks["B"].value)
    assert found.mean == pytest.approx(LEAST)


def test_the_table_has_every_task_kind_and_seed_at_equal_steps(tmp_path: Path) -> None:
    cells = mujoco.table(tmp_path).cells
    told = {(c.config.env.env, c.config.reward, c.config.asking.budget, c.config.teacher.mistakes) for c in cells}
    assert len(cells) == 3 * len(told) == 3 * 8 * 5 == len({c.name for c in cells}) * 1
    assert {c.config.steps for c in cells} == {mujoco.STEPS}
    first = {c.config.seed for c in cells[: len(cells) // 3]}
    assert first == {1}  # a seed's row over all tasks comes first
    agents = {c.config.agent for c in cells}
    assert len(agents) == 1  # one set of settings for all
