"""Environments without their reward: what the agent gets is what it sees, for a fixed number of steps, and no more.

The true reward is dropped here, before any code of the agent; whoever may see it (a simulated teacher, an evaluator)
hands in a `Witness`. There is no signal that an episode has ended: an end before the horizon is an error, or, where
`on_end` is "restart" (Atari; as in H), the environment begins anew and nobody is told.

Backends: envpool for MuJoCo (one thread steps 64 Hoppers faster than Gymnasium steps one), ale_py for Atari,
Gymnasium for all else.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from backflip.config import require
from backflip.control.robots import ROBOTS
from backflip.control.spaces import Space
from backflip.errors import ConfigError, DependencyError, TrainingDiverged

__all__ = ["EnvSettings", "Envs", "Witness", "make_envs"]

Witness = Callable[[NDArray[np.float64]], None]  # is given the true rewards of a step, (count,)
Backend = Literal["auto", "envpool", "gymnasium"]

_FOREVER: Final = 10**9  # steps until a backend would end an episode by itself: the horizon is ours


@dataclass(frozen=True)
class EnvSettings:
    """Which environment, how many side by side, and how long an episode is."""

    env: str = "Hopper-v5"
    """A Gymnasium id (Hopper-v5, ALE/Pong-v5, ..)."""
    count: int = 64
    """Environments side by side."""
    horizon: int = 1000
    """Steps of every episode."""
    on_end: Literal["auto", "refuse", "restart"] = "auto"
    """An episode that ends before the horizon: an error, or begun anew unseen. auto: restart for Atari."""
    options: Mapping[str, str | float | bool] = field(default_factory=dict)
    """More options for the environment."""
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        require(self.count >= 1, "count", seen=self.count, wanted="1 or more")
        require(self.horizon >= 1, "horizon", seen=self.horizon, wanted="1 or more")

    @property
    def atari(self) -> bool:
        return self.env.startswith("ALE/")

    @property
    def restarts(self) -> bool:
        return self.on_end == "restart" or (self.on_end == "auto" and self.atari)


class _Seen(NamedTuple):
    """What a backend gives: `pose` is qpos, where there is one; `ended` is about the step that led here."""

    observations: NDArray[Any]  # (count, *observation)
    rewards: NDArray[np.float64]  # (count,)
    ended: NDArray[np.bool_]  # (count,)
    pose: NDArray[np.float64] | None  # (count, nq)


class _Backend(Protocol):
    space: Space

    def start(self, seed: int | None) -> _Seen: ...
    def renew(self, which: NDArray[np.bool_]) -> _Seen: ...  # begins some anew, and shows those
    def step(self, actions: NDArray[Any]) -> _Seen: ...
    def close(self) -> None: ...


class Envs:
    """Environments side by side. `reset` begins an episode of all, and `horizon` calls of `step` are its length."""

    def __init__(self, backend: _Backend, settings: EnvSettings, witness: Witness | None) -> None:
        self._backend, self.settings, self._witness = backend, settings, witness
        self.space = backend.space
        self._pose: NDArray[np.float64] | None = None
        self._observations: NDArray[Any] = np.zeros(0)
        self._horizon = 0
        self._left = np.zeros(settings.count, dtype=np.int64)  # steps until each one's episode is over

    @property
    def count(self) -> int:
        return self.settings.count

    def reset(self, seed: int | None = None, *, horizon: int | None = None) -> NDArray[Any]:
        """The first observations. With a seed all that follows is determined; without, the draws go on.

        `horizon` is this episode's length, where it is another than usual.
        """
        self._horizon = horizon or self.settings.horizon
        self._left[:] = self._horizon
        return self._look(self._backend.start(seed))

    def renew(self, which: NDArray[np.bool_]) -> NDArray[Any]:
        """Begins an episode of these environments, (count,), alone; the observations of all."""
        self._left[which] = self._horizon
        seen = self._backend.renew(which)
        observations = self._observations.copy()
        observations[which] = seen.observations
        pose = self._pose
        if pose is not None and seen.pose is not None:
            pose = pose.copy()
            pose[which] = seen.pose
        none = np.zeros(self.count)
        return self._look(_Seen(observations, none, none > 0, pose))

    def step(self, actions: NDArray[Any]) -> NDArray[Any]:
        """The next observations. Raises TrainingDiverged at one that is not finite, ConfigError at an early end."""
        if not self._left.all():
            raise ConfigError(f"the episode of {self._horizon} steps is over; wanted a reset before this step")
        self._left -= 1
        seen = self._backend.step(actions)
        early = self._left[seen.ended].max(initial=0)
        if early and not self.settings.restarts:
            raise ConfigError(
                f"{self.settings.env} ended an episode {early} steps before the horizon of "
                f"{self._horizon}; wanted a fixed horizon, for an end would tell the agent what is wanted: "
                "set on_end to 'restart', or an option of the environment that keeps it going"
            )
        if self._witness is not None:
            self._witness(seen.rewards)
        return self._look(seen)

    def states(self) -> NDArray[np.float64] | None:
        """The poses (qpos) of now, (count, nq); None where the environment has none."""
        return self._pose

    def close(self) -> None:
        self._backend.close()

    def _look(self, seen: _Seen) -> NDArray[Any]:
        self._pose, self._observations = seen.pose, seen.observations
        if not self.space.image and not np.isfinite(seen.observations).all():
            bad = int(np.flatnonzero(~np.isfinite(seen.observations).reshape(self.count, -1).all(axis=1))[0])
            raise TrainingDiverged(
                f"environment {bad} of {self.count} ({self.settings.env}) shows NaN or infinite observations "
                f"{self._horizon - self._left[bad]} steps into the episode; wanted finite ones: the simulation "
                "has broken down, so start again from the last checkpoint, or look at the environment"
            )
        return seen.observations


def make_envs(settings: EnvSettings, *, witness: Witness | None = None) -> Envs:
    """Makes the environments of the fastest backend that serves.

    Raises DependencyError where the environment or its package is not installed, ConfigError where its observations or
    actions are of a kind that is not dealt with.
    """
    if settings.atari:
        return Envs(_atari(settings), settings, witness)
    if settings.backend != "gymnasium" and settings.env in ROBOTS:
        with contextlib.suppress(ImportError):
            return Envs(_EnvPool(settings), settings, witness)
    if settings.backend == "envpool":
        raise DependencyError(
            f"envpool does not serve {settings.env} here; wanted one of {', '.join(ROBOTS)} and the package "
            "(pip install 'backflip[control]'): or set backend to 'gymnasium'"
        )
    return Envs(_Gymnasium(settings), settings, witness)


class _EnvPool:
    """envpool's MuJoCo robots. Its seeds are given when it is made, so a seeded start makes it anew."""

    def __init__(self, settings: EnvSettings) -> None:
        import envpool

        self._make, self._settings, self._robot = envpool.make, settings, ROBOTS[settings.env]
        self._pool = self._made(0)
        box = self._pool.action_space
        self._scale = _Stretch(box.low, box.high)
        size = self._pool.observation_space.shape[0]
        self.space = Space(settings.env, (size,), box.shape[0], angles=self._robot.angles)
        self._seed = 0

    def _made(self, seed: int) -> Any:
        return self._make(
            self._settings.env,
            env_type="gymnasium",
            num_envs=self._settings.count,
            num_threads=1,
            seed=seed,
            max_episode_steps=_FOREVER,
            **{**self._robot.options, **self._settings.options},
        )

    def start(self, seed: int | None) -> _Seen:
        if seed is not None:
            self._pool.close()
            self._pool = self._made(seed % 2**31)
        observations, info = self._pool.reset()
        none = np.zeros(self._settings.count)
        return self._seen(observations, none, none > 0, info)

    def renew(self, which: NDArray[np.bool_]) -> _Seen:
        observations, info = self._pool.reset(np.flatnonzero(which))
        none = np.zeros(len(observations))
        return self._seen(observations, none, none > 0, info)

    def step(self, actions: NDArray[Any]) -> _Seen:
        observations, rewards, ended, cut, info = self._pool.step(self._scale(actions))
        return self._seen(observations, rewards, ended | cut, info)

    def _seen(self, observations: Any, rewards: Any, ended: Any, info: Mapping[str, Any]) -> _Seen:
        hidden = [np.asarray(info[name])[:, None] for name in self._robot.hidden]
        pose = np.concatenate([*hidden, observations[:, : self._robot.pose - len(hidden)]], axis=1)
        return _Seen(observations.astype(np.float32), rewards, ended, pose)

    def close(self) -> None:
        self._pool.close()


class _Stretch:
    """Actions in [-1, 1] to the environment's own bounds."""

    def __init__(self, low: NDArray[Any], high: NDArray[Any]) -> None:
        self._middle, self._half = (high + low) / 2, (high - low) / 2

    def __call__(self, actions: NDArray[Any]) -> NDArray[Any]:
        stretched: NDArray[Any] = np.clip(actions, -1, 1).astype(np.float64) * self._half + self._middle
        return stretched


class _Gymnasium:
    """Any environment of Gymnasium, one after the other in this process."""

    def __init__(self, settings: EnvSettings) -> None:
        self._envs = [_gymnasium_env(settings) for _ in range(settings.count)]
        self.space, self._action = _space(settings, self._envs[0])

    def start(self, seed: int | None) -> _Seen:
        seeds = [None if seed is None else (seed + i) % 2**31 for i in range(len(self._envs))]
        first = [env.reset(seed=s)[0] for env, s in zip(self._envs, seeds, strict=True)]
        none = np.zeros(len(first))
        return _Seen(self._stack(first), none, none > 0, self._poses())

    def renew(self, which: NDArray[np.bool_]) -> _Seen:
        first = [env.reset()[0] for env, anew in zip(self._envs, which, strict=True) if anew]
        none, poses = np.zeros(len(first)), self._poses()
        return _Seen(self._stack(first), none, none > 0, None if poses is None else poses[which])

    def step(self, actions: NDArray[Any]) -> _Seen:
        observations, rewards, ended = [], [], []
        for env, action in zip(self._envs, actions, strict=True):
            observation, reward, over, cut, _ = env.step(self._action(action))
            if over or cut:
                observation, _ = env.reset()
            observations.append(observation)
            rewards.append(float(reward))
            ended.append(over or cut)
        return _Seen(self._stack(observations), np.array(rewards), np.array(ended, dtype=bool), self._poses())

    def _stack(self, observations: list[Any]) -> NDArray[Any]:
        stacked = np.stack(observations)
        if self.space.image:
            return np.moveaxis(stacked, -1, 1) if stacked.shape[-1] in (1, 3, 4) else stacked
        return stacked.reshape(len(observations), -1).astype(np.float32)

    def _poses(self) -> NDArray[np.float64] | None:
        data: list[Any] = [getattr(env.unwrapped, "data", None) for env in self._envs]
        return np.stack([d.qpos.copy() for d in data]) if all(hasattr(d, "qpos") for d in data) else None

    def close(self) -> None:
        for env in self._envs:
            env.close()


def _gymnasium_env(settings: EnvSettings) -> Any:
    try:
        import gymnasium
    except ImportError as error:
        raise DependencyError(
            f"gymnasium is not installed, which {settings.env} needs: pip install 'backflip[control]'"
        ) from error
    known = dict(ROBOTS[settings.env].options) if settings.env in ROBOTS else {}
    try:
        return gymnasium.make(settings.env, max_episode_steps=_FOREVER, **{**known, **settings.options})
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise DependencyError(
            f"environment {settings.env!r} cannot be made: {error}. Wanted an id of gymnasium.envs.registry whose "
            "packages are installed (pip install 'backflip[control]', or 'backflip[atari]' for ALE/..)"
        ) from error


def _space(settings: EnvSettings, env: Any) -> tuple[Space, Callable[[Any], Any]]:
    """The space, and what turns an agent's action into the environment's."""
    from gymnasium.spaces import Box, Discrete

    seen, acts = env.observation_space, env.action_space
    if not isinstance(seen, Box):
        raise ConfigError(
            f"{settings.env} observes a {type(seen).__name__}; wanted a Box (a vector or a picture): wrap it, for "
            "instance in gymnasium.wrappers.FlattenObservation, and register that"
        )
    if not isinstance(acts, (Box, Discrete)):
        raise ConfigError(f"{settings.env} takes a {type(acts).__name__} as action; wanted a Box or a Discrete")
    image = len(seen.shape) == 3 and seen.dtype == np.uint8
    shape = _channels_first(seen.shape) if image else (int(np.prod(seen.shape)),)
    angles = ROBOTS[settings.env].angles if settings.env in ROBOTS else ()
    if isinstance(acts, Discrete):
        start = int(acts.start)
        return Space(settings.env, shape, int(acts.n), discrete=True, image=image, angles=angles), (
            lambda action: int(action) + start
        )
    stretch, bounds = _Stretch(*_bounds(acts)), acts.shape
    size = int(np.prod(bounds))
    dtype = acts.dtype
    return Space(settings.env, shape, size, image=image, angles=angles), (
        lambda action: stretch(action.reshape(bounds)).astype(dtype)
    )


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[2], *shape[:2]) if shape[2] in (1, 3, 4) else tuple(shape)


def _bounds(box: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """An unbounded action counts as [-1, 1]."""
    return np.where(np.isfinite(box.low), box.low, -1.0), np.where(np.isfinite(box.high), box.high, 1.0)


# --- Atari


class _Atari:
    """ale_py's vector of games: 4 x 84 x 84 grey pictures, the score blanked."""

    def __init__(self, settings: EnvSettings, game: str, rows: tuple[int, int]) -> None:
        from ale_py.vector_env import AtariVectorEnv

        options: dict[str, Any] = {"num_threads": 1, "reward_clipping": False, "use_fire_reset": False}
        self._envs = AtariVectorEnv(game, settings.count, **{**options, **settings.options})
        self._rows = slice(*rows)
        acts: Any = self._envs.single_action_space
        actions = int(acts.n)
        self.space = Space(settings.env, (4, 84, 84), actions, discrete=True, image=True)
        self._count = settings.count

    def start(self, seed: int | None) -> _Seen:
        observations, _ = self._envs.reset(seed=None if seed is None else seed % 2**31)
        none = np.zeros(self._count)
        return _Seen(self._blanked(observations), none, none > 0, None)

    def renew(self, which: NDArray[np.bool_]) -> _Seen:
        observations, _ = self._envs.reset(options={"reset_mask": which})
        none = np.zeros(int(which.sum()))
        return _Seen(self._blanked(observations)[which], none, none > 0, None)

    def step(self, actions: NDArray[Any]) -> _Seen:
        observations, rewards, ended, cut, _ = self._envs.step(np.asarray(actions, dtype=np.int64))
        return _Seen(self._blanked(observations), np.asarray(rewards, dtype=np.float64), ended | cut, None)

    def _blanked(self, observations: Any) -> NDArray[np.uint8]:
        pictures = np.array(observations, dtype=np.uint8)  # a copy: the backend writes into its own again
        pictures[:, :, self._rows] = 0
        return pictures

    def close(self) -> None:
        self._envs.close()


# Where each game writes its score and lives, in rows of the 84 that a picture has (210 rows in the console's).
_SCORES: Final[Mapping[str, tuple[int, int]]] = {
    "pong": (0, 10),
    "breakout": (0, 7),
    "beam_rider": (0, 16),
    "seaquest": (0, 8),
    "qbert": (0, 7),
    "space_invaders": (0, 8),
    "enduro": (63, 84),
}


def _atari(settings: EnvSettings) -> _Atari:
    name = settings.env.removeprefix("ALE/").rsplit("-v", 1)[0]
    game = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    try:
        from ale_py import roms
    except ImportError as error:
        raise DependencyError(
            f"ale_py is not installed, which {settings.env} needs: pip install 'backflip[atari]'"
        ) from error
    if game not in roms.get_all_rom_ids():
        raise DependencyError(
            f"there is no Atari game {settings.env!r}; wanted ALE/NAME-v5, such as ALE/Pong-v5: see ale_py.roms"
        )
    return _Atari(settings, game, _SCORES.get(game, (0, 10)))
