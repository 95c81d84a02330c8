"""The robots of the tables: poses as MuJoCo has them, and the true reward of an episode that never ends."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from backflip.control.envs import EnvSettings, make_envs
from backflip.control.robots import ROBOTS

STEPS = 60


def _played(env: str, options: dict[str, Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Observations, poses, actions and true rewards of one episode under envpool."""
    told: list[float] = []
    settings = EnvSettings(env, count=1, horizon=STEPS, backend="envpool", options=options)
    envs = make_envs(settings, witness=lambda rewards: told.append(float(rewards[0])))
    draw = np.random.default_rng(1)
    seen, poses, actions = [envs.reset(2)[0]], [envs.states()], []
    for _ in range(STEPS):
        actions.append(draw.uniform(-1, 1, (1, envs.space.actions)))
        seen.append(envs.step(actions[-1])[0])
        poses.append(envs.states())
    envs.close()
    return np.stack(seen), np.concatenate([p for p in poses if p is not None]), np.concatenate(actions), np.array(told)


@pytest.mark.parametrize("env", ["Reacher-v5", "InvertedPendulum-v5", "InvertedDoublePendulum-v5"])
def test_poses_put_into_mujoco_show_what_was_seen(env: str) -> None:
    seen, poses, _, _ = _played(env, {})
    plain: Any = gymnasium.make(env).unwrapped
    for observation, pose in zip(seen, poses, strict=True):
        assert pose.shape == (ROBOTS[env].pose,) == plain.data.qpos.shape
        plain.set_state(pose, np.zeros_like(plain.data.qvel))
        shown = plain._get_obs()
        told = slice(0, 5 if env == "InvertedDoublePendulum-v5" else pose.size)  # velocities are in no pose
        np.testing.assert_allclose(observation[told], shown[told], atol=1e-5)
    plain.close()


def test_a_fallen_pendulum_is_paid_nothing_and_goes_on() -> None:
    seen, _, _, told = _played("InvertedPendulum-v5", {})
    stands = np.abs(seen[1:, 1]) <= 0.2
    assert 0 < stands.sum() < STEPS
    np.testing.assert_array_equal(told, stands.astype(float))


def test_a_fallen_double_pendulum_pays_its_penalties_without_the_bonus() -> None:
    seen, poses, actions, told = _played("InvertedDoublePendulum-v5", {})
    plain: Any = gymnasium.make("InvertedDoublePendulum-v5").unwrapped
    bonuses = []
    for step in np.flatnonzero(np.abs(seen[:-1, 5:8]).max(axis=1) < 10):  # those beyond are not observed whole
        plain.set_state(poses[step], seen[step, 5:8].astype(float))
        _, expected, _, _, parts = plain.step(actions[step])
        if abs(plain.data.site_xpos[0][2] - 1) > 0.1:  # there, the tip is where it was a hundredth of a second ago
            assert told[step] == pytest.approx(expected, abs=0.02)
            bonuses.append(parts["reward_survive"])
    plain.close()
    assert {0, 10} == set(bonuses)


@pytest.mark.parametrize(("env", "bonus"), [("Hopper-v5", 1.0), ("Walker2d-v5", 1.0)])
def test_the_fallen_are_still_paid_for_their_way_but_no_bonus(env: str, bonus: float) -> None:
    _, poses, _, told = _played(env, {"ctrl_cost_weight": 0.0})
    way = np.diff(poses[:, 0]) / 0.008
    rest = (told - way)[1:]  # envpool tells x of a start without its noise
    assert np.isclose(rest, 0, atol=1e-6).any()
    assert np.isclose(rest, bonus, atol=1e-6).any()
    assert (np.isclose(rest, 0, atol=1e-6) | np.isclose(rest, bonus, atol=1e-6)).all()
