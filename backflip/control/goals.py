"""Goals that have no reward: what a simulated teacher likes in a clip, and a measure of its own for the evaluator.

Teachers look at poses or pictures as people look at clips. A goal's `steps` scores what a clip shows, and the teacher
compares sums; `measure` counts, over whole episodes, what was wanted, in units that a reader can picture. The two are
kept apart: a policy may please its teacher and not do the thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backflip.control.cheetah import one_leg, one_leg_measured, rear, rear_measured
from backflip.control.enduro import level, level_measured
from backflip.control.segments import Segment
from backflip.errors import DataError

__all__ = ["GOALS", "Goal", "GoalEye"]

_Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Goal:
    """`wanted` is what people are asked about two clips; `measure` gives its figures for one episode.

    Both look at what an episode or a clip shows: poses, (steps + 1, nq), or an Atari game's newest pictures,
    (steps, 84, 84).
    """

    env: str
    wanted: str
    steps: Callable[[Any], _Numbers]  # a score for each step
    measure: Callable[[Any], Mapping[str, float]]

    @property
    def pictures(self) -> bool:
        """Whether it looks at pictures, and not at poses."""
        return self.env.startswith("ALE/")

    def measured(self, episodes: NDArray[Any]) -> dict[str, float]:
        """The mean of each figure over episodes."""
        found = [self.measure(shown) for shown in episodes]
        return {name: float(np.mean([figures[name] for figures in found])) for name in found[0]}


class GoalEye:
    """Looks at what a clip shows and goes by a goal; DataError where it shows something else."""

    def __init__(self, name: str) -> None:
        self.name, self.goal = name, GOALS[name]

    def steps(self, segment: Segment, rewards: NDArray[Any] | None) -> _Numbers:  # noqa: ARG002
        shown = segment.observations[:, -1] if self.goal.pictures else segment.states
        if shown is None or segment.env != self.goal.env:
            raise DataError(f"a clip of {segment.env} does not show the goal {self.name!r}; wanted {self.goal.env}")
        return self.goal.steps(shown)


GOALS: Final[Mapping[str, Goal]] = MappingProxyType(
    {
        "one_leg": Goal(
            "HalfCheetah-v5",
            "In which clip does it get ahead better on its hind leg alone, the front leg off the floor?",
            one_leg,
            one_leg_measured,
        ),
        "rear": Goal(
            "HalfCheetah-v5",
            "In which clip does it stand up straighter on its hind leg, without walking off?",
            rear,
            rear_measured,
        ),
        "level": Goal(
            "ALE/Enduro-v5",
            "In which clip does the white car drive level with others for longer?",
            level,
            level_measured,
        ),
    }
)
