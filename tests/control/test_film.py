"""The policy that a run ends with: which of several it is, and a film of it."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from control_kit import registered

from backflip.control.agent import PPO, PPOSettings
from backflip.control.asking import AskingSettings
from backflip.control.contest import best_of
from backflip.control.envs import EnvSettings
from backflip.control.segments import Recorder
from backflip.control.spaces import Space
from backflip.errors import DataError
from backflip.recipes import control, film


def _done(recorder: Recorder) -> torch.Tensor:
    return torch.from_numpy(recorder.actions[..., 0])


def test_the_policy_that_the_reward_likes_best_is_kept() -> None:
    agents = [PPO(Space("Point", (2,), 1), PPOSettings(hidden=4), count=1, seed=seed) for seed in range(4)]
    nets = [deepcopy(agent.net.state_dict()) for agent in agents]
    with registered() as env:
        found = [best_of(agents[0], [net], EnvSettings(env, horizon=5), _done, seed=0)[1][0] for net in nets]
        best, scores = best_of(agents[0], nets, EnvSettings(env, horizon=5), _done, seed=0)
    assert scores == found
    assert best == found.index(max(found))
    for name, value in agents[0].net.state_dict().items():
        assert torch.equal(value, nets[best][name])


def test_a_run_is_filmed(tmp_path: Path) -> None:
    run = control.Config(
        folder=tmp_path / "run",
        env=EnvSettings("Hopper-v5", count=2, horizon=20),
        agent=PPOSettings(steps=20, hidden=4),
        asking=AskingSettings(budget=4),
        steps=80,
        clip=10,
        first_fit=2,
        fit=2,
        contenders=1,
        episodes=1,
        evaluation_horizon=20,
    )
    with pytest.raises(DataError, match="no run of control"):
        film.run(film.Config(run.folder))
    control.run(run)
    wanted = film.Config(run.folder, steps=30, width=64, height=48)
    made = film.run(wanted)
    assert made.path == run.folder / "film.gif"
    from PIL import Image

    with Image.open(made.path) as picture:
        assert (picture.size, picture.n_frames) == ((64, 48), 11)  # type: ignore[attr-defined]
    # The same start gives the same film.
    assert (
        film.run(film.Config(run.folder, steps=30, out=tmp_path / "again.gif", width=64, height=48)).flips == made.flips
    )
    (run.folder / "policy").rename(tmp_path / "gone")
    with pytest.raises(DataError, match="has no policy"):
        film.run(film.Config(run.folder))
