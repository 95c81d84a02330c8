"""The cells of the tables: what they vary, and that the seven games run from their first picture to their score."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from backflip.recipes.control import run
from experiments import ablation, atari, mujoco, novel, pages


@pytest.mark.parametrize("game", atari.GAMES)
def test_every_game_runs_to_its_score(tmp_path: Path, game: str) -> None:
    config = atari.atari(tmp_path / "run", game=game, seed=1, steps=atari.SHORT, answers=4)
    tiny = replace(
        config,
        env=replace(config.env, count=2, horizon=10),
        agent=replace(config.agent, steps=10, epochs=1, minibatch=10),
        asking=replace(config.asking, factor=1),
        steps=20,
        clip=5,
        first_fit=1,
        fit=1,
        episodes=1,
        evaluation_horizon=10,
        checkpoint_every=4,
    )
    result = run(tiny)
    assert result.answers == 4
    assert result.steps == 20
    assert np.isfinite(result.true_return)


def test_the_games_are_the_papers_and_the_long_cells_have_one_budget(tmp_path: Path) -> None:
    cells = atari.table(tmp_path).cells
    assert {c.config.env.env for c in cells} == {f"ALE/{game}-v5" for game in atari.GAMES}
    long = [c for c in cells if not c.name.endswith("smoke")]
    assert {c.config.steps for c in long} == {atari.LONG}
    pong = {(c.config.reward, c.config.teacher.goal) for c in long if "Pong" in c.name}
    assert pong == {("teacher_score", "reward"), ("answers", "reward"), ("random", "reward")}
    assert {c.config.teacher.goal for c in long if "Enduro" in c.name} == {"level"}


def test_an_ablation_changes_one_thing(tmp_path: Path) -> None:
    cells = ablation.table(tmp_path).cells
    assert len(cells) == len({c.name for c in cells}) == 2 * 5 * len(ablation.VARIANTS)
    assert {c.config.steps for c in cells} == {ablation.STEPS}
    assert {c.config.asking.budget for c in cells} == {ablation.ANSWERS}
    whole = ablation.ablation(tmp_path, variant="whole", task="Hopper-v5", seed=1)
    changed = {}
    for name in ablation.VARIANTS:
        found = ablation.ablation(tmp_path, variant=name, task="Hopper-v5", seed=1)
        parts = ("asking", "predictor")
        changed[name] = {
            f"{part}.{field}": value
            for part in parts
            for field, value in asdict(getattr(found, part)).items()
            if value != getattr(getattr(whole, part), field)
        } | ({} if found.clip == whole.clip else {"clip": found.clip})
    assert changed["whole"] == {}
    assert changed["no ensemble"] == {"predictor.members": 1, "asking.method": "random"}
    assert all(len(changes) == 1 for name, changes in changed.items() if name not in ("whole", "no ensemble"))


def test_the_ablations_summary_is_a_mean_over_seeds() -> None:
    rows = [{"env": "A", "variant": "whole", "true_return": value} for value in (1.0, 2.0, 6.0)]
    told = ablation.summary(rows)["A"]["whole"]
    assert told["seeds"] == 3
    value, low, high = told["return"]
    assert 1 <= low < value == 3 < high <= 6


def test_novel_cells_ask_what_their_goal_wants(tmp_path: Path) -> None:
    cells = novel.table(tmp_path).cells
    assert len({c.config.wanted for c in cells}) == 2
    assert {c.config.teacher.goal for c in cells} == {"one_leg", "rear"}
    assert {c.config.reward for c in cells} == {"answers", "random", "teacher_score"}


def test_the_page_holds_what_the_results_say() -> None:
    text = (pages.ROOT / pages.PAGE).read_text(encoding="utf-8")
    assert pages.rendered(text) == text, "run: python -m experiments.pages"


def test_blocks_are_made_from_rows(tmp_path: Path) -> None:
    (tmp_path / "docs" / "results").mkdir(parents=True)
    common = {"env": "A", "answers": 700, "mistakes": 0.1}
    rows = [{**common, "reward": "answers", "true_return": value} for value in (1234.0, 5678.0)]
    rows += [{**common, "reward": "true", "true_return": 4000.0}, {**common, "reward": "random", "true_return": 0.0}]
    told = {"runs": rows, "cells": 9, "about": "made up", "summary": mujoco.summary(rows)}
    (tmp_path / "docs" / "results" / "mujoco.json").write_text(json.dumps(told))
    made = pages.rendered("<!-- table: mujoco -->\n<!-- end -->\n<!-- table: novel -->\n<!-- end -->", tmp_path)
    assert "| A | 3,456 (1,234, 5,678) = 0.86 | 4,000 | 0 |" in made
    assert "answers 700, 10 % wrong: 0.86 over 1 tasks" in made
    assert "4 of 9 cells have ended; made up." in made
    assert "No cell has ended yet: there is no `docs/results/novel.json`." in made
