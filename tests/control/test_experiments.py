"""Tables of experiments: missing cells are run, ended ones are told, and what is under way goes on."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

from control_kit import registered

from backflip.control.agent import PPOSettings
from backflip.control.asking import AskingSettings
from backflip.control.envs import EnvSettings
from backflip.control.teachers import TeacherSettings
from backflip.recipes.control import Config
from backflip.runs import open_run

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments import agents, backflip, curves
from experiments.cells import Cell, Table, run_missing, status, write_results


def _table(folder: Path, env: str) -> Table:
    def config(seed: int) -> Config:
        return Config(
            folder=folder / f"seed-{seed}",
            env=EnvSettings(env, count=2, horizon=5),
            agent=PPOSettings(steps=5, epochs=1, hidden=8),
            asking=AskingSettings(budget=4),
            teacher=TeacherSettings(goal="reward", mistakes=0.1),
            steps=10,
            clip=3,
            first_fit=1,
            fit=1,
            episodes=1,
            evaluation_horizon=5,
            seed=seed,
        )

    return Table("small", [Cell(f"seed-{seed}", config(seed)) for seed in (1, 2)], "a test")


def test_missing_cells_are_run_and_ended_ones_told(tmp_path: Path) -> None:
    out = tmp_path / "small.json"
    with registered() as env:
        table = _table(tmp_path, env)
        assert write_results(table, out=out) == 0
        run_missing(table, out=out, most=1)
        assert [status(cell) for cell in table.cells] == ["done", "missing"]
        assert [row["seed"] for row in json.loads(out.read_text())["runs"]] == [1]
        run_missing(table, out=out, only="seed-1")
        assert status(table.cells[1]) == "missing"
        run_missing(table, out=out)
    told = json.loads(out.read_text())
    assert told["cells"] == len(told["runs"]) == 2
    row = told["runs"][0]
    assert (row["reward"], row["answers"], row["mistakes"], row["steps"]) == ("answers", 4, 0.1, 10)
    assert "clean_flips_per_1000_steps" not in row  # this is no Hopper


def test_the_backflips_table_has_every_seed_and_comparison(tmp_path: Path) -> None:
    table = backflip.table(tmp_path)
    told = {(c.config.seed, c.config.reward, c.config.asking.budget) for c in table.cells}
    assert len(told) == len(table.cells) == len({c.name for c in table.cells})
    for seed in backflip.SEEDS:
        assert {reward for s, reward, _ in told if s == seed} == {"answers", "hand_written", "teacher_score", "random"}
        assert {budget for s, reward, budget in told if s == seed and reward == "answers"} == {900, 300, 100}
    assert len({c.config.steps for c in table.cells}) == 1  # equal steps for all
    assert {c.config.teacher.mistakes for c in table.cells} == {0.1}
    assert {(c.config.episodes, c.config.evaluation_horizon) for c in table.cells} == {(20, 1000)}


def test_the_contest_of_agents_differs_in_the_agent_alone(tmp_path: Path) -> None:
    table = agents.table(tmp_path)
    told = [(c.config.env.env, c.config.seed, c.config.asking.budget, c.config.algorithm) for c in table.cells]
    assert len(set(told)) == len(told) == 2 * 3 * 3 * 2
    for one, other in zip(table.cells[::2], table.cells[1::2], strict=True):
        same = replace(other.config, folder=one.config.folder, algorithm="ppo", steps=one.config.steps)
        assert same == one.config


def test_curves_are_medians_over_seeds_that_have_ended(tmp_path: Path) -> None:
    for seed, flips in enumerate(([0.0, 2.0], [1.0, 3.0], [5.0, 7.0], [9.0])):
        folder = tmp_path / f"answers-300-seed-{seed}"
        config = replace(_table(tmp_path, "Point").cells[0].config, folder=folder, seed=seed)
        try:
            with open_run(folder, recipe="control", config=config, seed=seed) as ledger:
                for i, value in enumerate(flips):
                    ledger.metrics.write(i, {"control/steps": 10 * (i + 1), "flips/clean_flips": value})
                if seed == 3:
                    raise KeyboardInterrupt
                ledger.finish({})
        except KeyboardInterrupt:
            pass  # the last one was interrupted
    band = curves.medians(tmp_path, "answers-300")
    assert band == [(10, 1.0, 0.0, 5.0), (20, 2.0, 1.0, 6.0)]  # the last rollouts are averaged
    assert curves.main([str(tmp_path), str(tmp_path / "curves.svg")]) == 0
    drawn = ET.fromstring((tmp_path / "curves.svg").read_text())
    assert len([part for part in drawn if part.tag.endswith("polyline")]) == 1
    assert curves.main([]) == 2
