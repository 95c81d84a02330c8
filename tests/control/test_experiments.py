"""Tables of experiments: missing cells are run, ended ones are told, and what was killed goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from control_kit import registered

from backflip.control.agent import PPOSettings
from backflip.control.asking import AskingSettings
from backflip.control.envs import EnvSettings
from backflip.control.teachers import TeacherSettings
from backflip.errors import TrainingDiverged
from backflip.recipes.control import Config, run
from backflip.runs import open_run

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments import agents, backflip, curves
from experiments.cells import Cell, Table, rows, run_missing, status, write_results
from experiments.outlook import outlook, share

ROOT = Path(__file__).resolve().parents[2]


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

    def summary(found: Any) -> dict[str, Any]:
        return {"seeds": len(found)}

    cells = [Cell(f"seed-{seed}", config(seed), work=10, group="small") for seed in (1, 2)]
    return Table("small", cells, "a test", summary)


def test_missing_cells_are_run_and_ended_ones_told(tmp_path: Path) -> None:
    out = tmp_path / "small.json"
    with registered() as env:
        table = _table(tmp_path, env)
        assert write_results(table, out=out) == 0
        assert str(outlook(table)) == "0 of 2 cells done, 0 under way, how long the rest takes is not known yet"
        run_missing(table, out=out, most=1)
        assert [status(cell) for cell in table.cells] == ["done", "missing"]
        assert [share(cell) for cell in table.cells] == [1, 0]
        assert [row["seed"] for row in json.loads(out.read_text())["runs"]] == [1]
        assert outlook(table).hours == pytest.approx(rows(table)[0]["seconds"] / 3600)  # as much again
        run_missing(table, out=out, only="seed-1")
        assert status(table.cells[1]) == "missing"
        run_missing(table, out=out)
    told = json.loads(out.read_text())
    assert told["cells"] == len(told["runs"]) == told["summary"]["seeds"] == 2
    row = told["runs"][0]
    assert (row["reward"], row["answers"], row["mistakes"], row["steps"]) == ("answers", 4, 0.1, 10)
    assert "clean_flips_per_1000_steps" not in row  # this is no Hopper
    assert outlook(table).hours == 0


def test_what_was_begun_by_other_settings_is_begun_anew_if_asked(tmp_path: Path) -> None:
    out = tmp_path / "small.json"
    with registered() as env:
        table = _table(tmp_path, env)
        first = table.cells[0].config.folder
        other = replace(table.cells[0].config, steps=20)
        with pytest.raises(RuntimeError, match="stop"):
            run(other, after_rollout=_stop)
        assert any("other work" in error for error in run_missing(table, out=out, most=1))
        assert run_missing(table, out=out, most=1, anew=True) == []
        assert status(table.cells[0]) == "done"
        assert first.exists()


def _stop(_: int) -> None:
    raise RuntimeError("stop")


def test_a_cell_that_fails_is_told_and_the_next_one_run(tmp_path: Path) -> None:
    out = tmp_path / "small.json"

    def work(config: Config) -> None:
        with open_run(config.folder, recipe="small", config=config, seed=config.seed) as ledger:
            if config.seed == 1:
                raise TrainingDiverged("it broke")
            ledger.finish({"seed": config.seed})

    cells = [
        Cell(c.name, c.config, run=work, row=lambda c, _: {"seed": c.seed}) for c in _table(tmp_path, "none").cells
    ]
    errors = run_missing(Table("small", cells, "a test"), out=out)
    told = json.loads(out.read_text())
    assert errors == ["seed-1: it broke"]
    assert told["failed"] == {"seed-1": "it broke"}
    assert told["runs"] == [{"seed": 2}]


# A table whose second cell waits, once, until it is killed; two processes work at it.
_SCRIPT = """
    import functools, sys, time
    from dataclasses import dataclass
    from pathlib import Path
    from backflip.runs import open_run
    from experiments.cells import Cell, Table, run_missing
    from experiments.workers import side_by_side

    @dataclass(frozen=True)
    class Config:
        folder: Path
        seed: int

    def work(config):
        with open_run(config.folder, recipe="small", config=config, seed=config.seed) as ledger:
            begun = config.folder / "begun"
            if config.seed > 1 and not begun.exists():
                begun.touch()
                print("waiting", flush=True)
                time.sleep(600)
            ledger.finish({"seed": config.seed})

    def run(folder):
        cells = [Cell(str(s), Config(folder / str(s), s), run=work, row=lambda c, r: dict(r.result)) for s in (1, 2, 3)]
        run_missing(Table("small", cells, "a test"), out=folder / "small.json")

    if __name__ == "__main__":
        side_by_side(functools.partial(run, Path(sys.argv[1])), 2)
"""


def test_killed_at_any_time_it_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "small.py"
    script.write_text(textwrap.dedent(_SCRIPT))
    command = [sys.executable, str(script), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        waiting = 0
        while waiting < 2:  # one cell in each of the two processes
            waiting += "waiting" in running.stdout.readline()
        running.send_signal(signal.SIGKILL)
        running.stdout.read()  # ends when the last process that writes there has: both went with the first
    assert json.loads((tmp_path / "small.json").read_text())["runs"] == [{"seed": 1}]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert [row["seed"] for row in json.loads((tmp_path / "small.json").read_text())["runs"]] == [1, 2, 3]


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
