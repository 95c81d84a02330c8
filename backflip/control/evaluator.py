"""The evaluator: it alone looks at the true reward and counts flips, in environments and from starts of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backflip.control.envs import EnvSettings, make_envs
from backflip.control.flips import FlipCount, count_flips, mean_flips

__all__ = ["FIRST_SEED", "Evaluation", "evaluate"]

FIRST_SEED = 2**30  # training's seeds are below it


@dataclass(frozen=True)
class Evaluation:
    """Whole episodes of a policy that does not learn."""

    true_returns: tuple[float, ...]
    flips: tuple[FlipCount, ...]  # of each episode; empty but for the Hopper
    poses: NDArray[np.float64] | None  # (episodes, steps + 1, nq)
    pictures: NDArray[np.uint8] | None = None  # (episodes, steps, height, width): the newest of each stack, if asked

    @property
    def mean_flips(self) -> FlipCount | None:
        return mean_flips(self.flips) if self.flips else None


def evaluate(
    act: Callable[[NDArray[Any]], NDArray[Any]],
    env: EnvSettings,
    *,
    episodes: int,
    horizon: int,
    seed: int = 0,
    pictures: bool = False,
) -> Evaluation:
    """Plays `episodes` side by side; equal seeds give equal starts, none of which was trained on."""
    shown: list[NDArray[np.uint8]] = []
    rewards: list[NDArray[np.float64]] = []
    envs = make_envs(replace(env, count=episodes, horizon=horizon), witness=lambda r: rewards.append(np.array(r)))
    try:
        observations = envs.reset(FIRST_SEED + seed)
        poses = [envs.states()]
        for _ in range(horizon):
            shown += [observations[:, -1].copy()] if pictures else []
            observations = envs.step(act(observations))
            poses.append(envs.states())
    finally:
        envs.close()
    kept = [p for p in poses if p is not None]
    stacked = np.stack(kept, axis=1) if kept else None
    seen = np.stack(shown, axis=1) if shown else None
    flips = tuple(count_flips(p) for p in stacked) if stacked is not None and env.env.startswith("Hopper") else ()
    return Evaluation(tuple(float(r) for r in np.sum(rewards, axis=0)), flips, stacked, seen)
