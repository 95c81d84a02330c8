"""The control recipe with SAC: kill and resume with its replay, and the true reward has no way in here either."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from control_kit import registered
from numpy.typing import NDArray

from backflip.config import fingerprint
from backflip.control.asking import AskingSettings
from backflip.control.envs import EnvSettings
from backflip.control.predictor import PredictorSettings
from backflip.control.sac import SACSettings
from backflip.control.segments import Segment
from backflip.errors import ConfigError
from backflip.recipes.control import Config, Result, run
from backflip.runs import read_metrics


class _LikesTheAction:
    def steps(self, segment: Segment, rewards: NDArray[np.float64] | None) -> NDArray[np.float64]:
        assert rewards is None
        return segment.actions[:, 0].astype(np.float64)


def _config(folder: Path, env: str) -> Config:
    return Config(
        folder=folder,
        env=EnvSettings(env, count=4, horizon=10),
        algorithm="sac",
        sac=SACSettings(steps=5, ratio=5, batch=8, hidden=8, replay=100, pretrain=40),
        predictor=PredictorSettings(hidden=8),
        asking=AskingSettings(budget=12),
        steps=160,  # 8 rollouts of 20 steps; the replay holds 5, the first 2 are curiosity's
        clip=3,
        first_fit=5,
        fit=5,
        checkpoint_every=2,
        episodes=2,
        evaluation_horizon=5,
    )


def _run(config: Config, **more: Any) -> Result:
    return run(config, eye=_LikesTheAction(), **more)


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if not k.startswith("time")} for line in read_metrics(folder)]


def _kill(rollout: int) -> None:
    if rollout == 5:  # the last checkpoint is of rollout 4
        os.kill(os.getpid(), signal.SIGKILL)


def _killed_run(folder: Path) -> None:
    with registered() as env:
        _run(_config(folder, env), after_rollout=_kill)


def test_a_killed_run_goes_on_bit_by_bit_with_all_that_it_remembers(tmp_path: Path) -> None:
    with registered() as env:
        whole = _run(_config(tmp_path / "whole", env))
        child = multiprocessing.get_context("spawn").Process(target=_killed_run, args=(tmp_path / "killed",))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        resumed = _run(_config(tmp_path / "killed", env))
    lines = _lines(tmp_path / "whole")
    assert _lines(tmp_path / "killed") == lines
    assert resumed.true_return == whole.true_return
    assert resumed.answers == whole.answers == 12
    assert ["agent/state_entropy" in line for line in lines] == [True] * 2 + [False] * 6
    assert ["predictor/loss" in line for line in lines[:3]] == [False, False, True]  # asked when it has looked around
    assert lines[-1]["agent/replay"] == 100


def test_the_true_reward_has_no_way_into_its_training(tmp_path: Path) -> None:
    results = []
    for name, scale in (("plain", 1.0), ("perturbed", -1000.0)):
        with registered(reward_scale=scale) as env:
            results.append(_run(_config(tmp_path / name, env)))
    assert _lines(tmp_path / "plain") == _lines(tmp_path / "perturbed")
    assert results[1].true_return == pytest.approx(-1000 * results[0].true_return)


def test_discrete_actions_are_refused(tmp_path: Path) -> None:
    with registered(discrete=True) as env, pytest.raises(ConfigError, match="PPO"):
        _run(_config(tmp_path / "run", env))


def test_a_run_of_ppo_is_the_work_that_it_was_before_there_was_another_agent() -> None:
    config = Config(folder=Path("run"))
    assert fingerprint(config) == fingerprint(Config(folder=Path("run"), sac=SACSettings()))
    assert fingerprint(config) != fingerprint(Config(folder=Path("run"), algorithm="sac"))
