"""A tiny environment for the control tests: what was done is what is seen, and a true reward that nobody needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

__all__ = ["Point", "registered"]


class Point(gymnasium.Env[Any, Any]):
    """A point that a box action moves; it may end early, see nothing (NaN) or show a Dict."""

    def __init__(
        self,
        *,
        ends_after: int = 0,
        blind_after: int = 0,
        as_dict: bool = False,
        discrete: bool = False,
        image: bool = False,
        reward_scale: float = 1.0,
    ) -> None:
        self.ends_after, self.blind_after, self.scale = ends_after, blind_after, reward_scale
        self.discrete, self.image = discrete, image
        box: Any = Box(-np.inf, np.inf, (2,))
        picture: Any = Box(0, 255, (84, 84, 1), dtype=np.uint8)
        self.observation_space = Dict({"x": box}) if as_dict else picture if image else box
        self.action_space = (
            Discrete(3, start=1) if discrete else Box(np.array([-2], dtype=np.float32), np.array([4], dtype=np.float32))
        )
        self.steps, self.place, self.acted = 0, 0.0, 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps, self.place, self.acted = 0, float(self.np_random.uniform(-1, 1)), 0.0
        return self._look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if not self.action_space.contains(action):
            raise ValueError(f"{action!r} is outside {self.action_space}")
        self.steps += 1
        self.acted = float(np.asarray(action).reshape(-1)[0])
        self.place = 0.5 * self.place
        over = bool(self.ends_after) and self.steps >= self.ends_after
        return self._look(), self.scale * self.acted, over, False, {"reward": self.acted}

    def _look(self) -> Any:
        if self.image:
            return np.full((84, 84, 1), self.steps % 256, dtype=np.uint8)
        place = np.nan if self.blind_after and self.steps >= self.blind_after else self.place
        return np.array([place, self.acted], dtype=np.float32)


@contextmanager
def registered(**options: Any) -> Iterator[str]:
    """The point as a Gymnasium id, for as long as the block lasts."""
    name = "BackflipPoint-v0"
    gymnasium.register(name, entry_point=lambda **more: Point(**{**options, **more}))
    try:
        yield name
    finally:
        del gymnasium.registry[name]
