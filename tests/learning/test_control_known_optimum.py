"""Learning where the optimum is known: the action is the reward, and the teacher alone says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from backflip.control.agent import PPOSettings
from backflip.control.asking import AskingSettings
from backflip.control.envs import EnvSettings
from backflip.control.predictor import PredictorSettings
from backflip.control.sac import SACSettings
from backflip.control.segments import Segment
from backflip.control.teachers import TeacherSettings
from backflip.recipes.control import Config, run


class _Acted(gymnasium.Env[Any, Any]):
    """Shows nothing; its true reward is the action."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), dtype=np.float32)
    action_space = gymnasium.spaces.Box(np.array([-2], dtype=np.float32), np.array([4], dtype=np.float32))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros(2, np.float32), float(action[0]), False, False, {}


@pytest.fixture
def acted() -> Iterator[str]:
    gymnasium.register("BackflipActed-v0", entry_point=_Acted)
    yield "BackflipActed-v0"
    del gymnasium.registry["BackflipActed-v0"]


class _LikesTheAction:
    def steps(self, segment: Segment, rewards: NDArray[np.float64] | None) -> NDArray[np.float64]:
        return segment.actions[:, 0].astype(np.float64)


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_the_agent_learns_the_action_that_is_preferred(
    tmp_path: Path, acted: str, algorithm: Literal["ppo", "sac"]
) -> None:
    config = Config(
        folder=tmp_path / "run",
        env=EnvSettings(acted, count=8, horizon=20),
        agent=PPOSettings(steps=20, epochs=4, minibatch=80, hidden=16, learning_rate=5e-3),
        algorithm=algorithm,
        sac=SACSettings(steps=20, ratio=8, batch=64, hidden=16, learning_rate=3e-3, gamma=0.9, pretrain=320),
        predictor=PredictorSettings(hidden=16),
        asking=AskingSettings(budget=60),
        teacher=TeacherSettings(mistakes=0.1),
        steps=4800,
        clip=5,
        first_fit=100,
        fit=20,
        checkpoint_every=10,
        episodes=4,
        evaluation_horizon=20,
    )
    result = run(config, eye=_LikesTheAction())
    # The environment's bounds are -2 and 4, its true reward is the action: the best return of 20 steps is 80, a policy
    # that does nothing has 20 (the middle), and the agent has seen neither.
    assert result.true_return > 65
    assert result.answers == 60
