"""Environments without their reward: what passes, what is refused, and what nobody is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from control_kit import registered
from numpy.typing import NDArray

from backflip.control.envs import EnvSettings, make_envs
from backflip.errors import BackflipError, ConfigError, DependencyError, TrainingDiverged


def _play(settings: EnvSettings, *, steps: int, seed: int = 0, witness: Any = None) -> NDArray[Any]:
    envs = make_envs(settings, witness=witness)
    try:
        draw = np.random.default_rng(seed)
        seen = [envs.reset(seed)]
        for _ in range(steps):
            box = draw.uniform(-1, 1, (envs.count, envs.space.actions)).astype(np.float32)
            seen.append(envs.step(draw.integers(envs.space.actions, size=envs.count) if envs.space.discrete else box))
        return np.stack(seen)
    finally:
        envs.close()


def test_the_reward_goes_to_the_witness_alone() -> None:
    told: list[NDArray[np.float64]] = []
    with registered() as env:
        seen = _play(EnvSettings(env, count=3, horizon=4), steps=4, witness=lambda r: told.append(r.copy()))
    assert seen.shape == (5, 3, 2)
    np.testing.assert_allclose(np.stack(told), seen[1:, :, 1], rtol=1e-6)  # the reward is what was done


def test_actions_are_stretched_to_the_environments_bounds() -> None:
    with registered() as env:
        envs = make_envs(EnvSettings(env, count=3))
        envs.reset(0)
        seen = envs.step(np.array([[-1.0], [0.0], [7.0]], dtype=np.float32))
    np.testing.assert_allclose(seen[:, 1], [-2, 1, 4])  # bounds -2 and 4; beyond 1 is cut


def test_discrete_actions_begin_where_the_environments_do() -> None:
    with registered(discrete=True) as env:
        envs = make_envs(EnvSettings(env, count=2))
        assert envs.space.discrete
        assert envs.space.actions == 3
        envs.reset(0)
        np.testing.assert_allclose(envs.step(np.array([0, 2]))[:, 1], [1, 3])


def test_pictures_come_channels_first() -> None:
    with registered(image=True) as env:
        envs = make_envs(EnvSettings(env, count=2))
        assert envs.space.image
        assert envs.reset(0).shape == (2, *envs.space.observation) == (2, 1, 84, 84)


def test_an_early_end_is_refused_or_restarts_unseen() -> None:
    with registered(ends_after=3) as env:
        with pytest.raises(ConfigError, match=r"7 steps before the horizon of 10.*on_end"):
            _play(EnvSettings(env, count=2, horizon=10), steps=10)
        seen = _play(EnvSettings(env, count=2, horizon=10, on_end="restart"), steps=10)
    assert np.isfinite(seen).all()


def test_an_end_at_the_horizon_is_none_and_a_step_after_it_is_refused() -> None:
    with registered(ends_after=3) as env:
        _play(EnvSettings(env, count=1, horizon=3), steps=3)
        with pytest.raises(ConfigError, match="wanted a reset"):
            _play(EnvSettings(env, count=1, horizon=2), steps=3)


def test_observations_that_are_not_finite_stop_it() -> None:
    with registered(blind_after=2) as env, pytest.raises(TrainingDiverged, match=r"2 steps into the episode"):
        _play(EnvSettings(env, count=2, horizon=5), steps=5)


def test_a_dict_observation_is_refused() -> None:
    with registered(as_dict=True) as env, pytest.raises(ConfigError, match="observes a Dict"):
        make_envs(EnvSettings(env, count=1))


@pytest.mark.parametrize("env", ["NoSuchThing-v0", "ALE/NoSuchGame-v5", "no_module:Thing-v0"])
def test_what_is_not_installed_is_named(env: str) -> None:
    with pytest.raises(DependencyError, match=r"[Ww]anted"):
        make_envs(EnvSettings(env, count=1))


def test_bad_settings_are_refused_by_name() -> None:
    with pytest.raises(BackflipError, match="count"):
        EnvSettings(count=0)
    with pytest.raises(DependencyError, match="envpool does not serve CartPole"):
        make_envs(EnvSettings("CartPole-v1", backend="envpool"))


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_hopper_shows_its_pose_and_never_ends(backend: Any) -> None:
    envs = make_envs(EnvSettings("Hopper-v5", count=2, horizon=120, backend=backend))
    seen = envs.reset(3)
    for _ in range(120):
        seen = envs.step(np.ones((2, 3), dtype=np.float32))
    poses = envs.states()
    envs.close()
    assert poses is not None
    assert poses.shape == (2, 6)
    np.testing.assert_allclose(poses[:, 1:], seen[:, :5], rtol=1e-5)
    assert envs.space.angles == (1,)


def test_both_backends_move_the_hopper_alike() -> None:
    ways = []
    for backend in ("envpool", "gymnasium"):
        envs = make_envs(EnvSettings("Hopper-v5", count=1, backend=backend))  # type: ignore[arg-type]
        seen = envs.reset(3)
        start = seen[0]
        for _ in range(3):
            seen = envs.step(np.full((1, 3), 0.5, dtype=np.float32))
        ways.append(seen[0] - start)
        envs.close()
    np.testing.assert_allclose(ways[0], ways[1], atol=0.15)  # the starts differ by 0.005


def test_equal_seeds_give_equal_episodes_and_others_do_not() -> None:
    settings = EnvSettings("Hopper-v5", count=2, horizon=20)
    first, again, other = (_play(settings, steps=20, seed=s) for s in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_an_episode_may_have_a_length_of_its_own() -> None:
    with registered() as env:
        envs = make_envs(EnvSettings(env, count=1, horizon=10))
        envs.reset(0, horizon=1)
        envs.step(np.zeros((1, 1)))
        with pytest.raises(ConfigError, match="the episode of 1 steps is over"):
            envs.step(np.zeros((1, 1)))


def test_atari_is_four_grey_pictures_without_a_score() -> None:
    told: list[NDArray[np.float64]] = []
    seen = _play(EnvSettings("ALE/Pong-v5", count=2, horizon=100), steps=30, witness=told.append)
    assert seen.shape == (31, 2, 4, 84, 84)
    assert seen.dtype == np.uint8
    assert seen[:, :, :, 20:].any()
    assert not seen[:, :, :, :10].any()
    assert len(told) == 30


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_some_environments_begin_anew_and_the_others_go_on(backend: Any) -> None:
    envs = make_envs(EnvSettings("Hopper-v5", count=3, horizon=4, backend=backend))
    try:
        envs.reset(5)
        still = np.zeros((3, 3), dtype=np.float32)
        before = [envs.step(still) for _ in range(3)][-1]
        pose = envs.states()
        seen = envs.renew(np.array([False, True, False]))
        after = envs.states()
        assert pose is not None
        assert after is not None
        assert (seen == before).all(axis=1).tolist() == (after == pose).all(axis=1).tolist() == [True, False, True]
        np.testing.assert_allclose(seen[1, 5:], 0, atol=0.006)  # at rest, near enough: a start
        envs.step(still)
        with pytest.raises(ConfigError, match="is over"):  # of those that went on
            envs.step(still)
    finally:
        envs.close()
