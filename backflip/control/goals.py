"""Goals that have no reward: what a simulated teacher likes in poses, and a measure of its own for the evaluator.

Teachers look at poses as people look at clips. A goal's `steps` scores what a clip shows, and the teacher compares
sums; `measure` counts, over whole episodes, what was wanted, in units that a reader can picture. The two are kept
apart: a policy may please its teacher and not do the thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backflip.control.planar import figure, limb_ends
from backflip.control.segments import Segment
from backflip.errors import DataError

__all__ = ["GOALS", "Goal", "GoalEye"]

_Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Goal:
    """`wanted` is what people are asked about two clips; `measure` gives its figures for one episode's poses."""

    env: str
    wanted: str
    steps: Callable[[_Numbers], _Numbers]  # poses (steps + 1, nq) -> a score for each step
    measure: Callable[[_Numbers], Mapping[str, float]]

    def measured(self, episodes: _Numbers) -> dict[str, float]:
        """The mean of each figure over episodes, (episodes, steps + 1, nq)."""
        found = [self.measure(poses) for poses in episodes]
        return {name: float(np.mean([figures[name] for figures in found])) for name in found[0]}


class GoalEye:
    """Looks at poses and goes by a goal; DataError where a clip shows another robot."""

    def __init__(self, name: str) -> None:
        self.name, self.goal = name, GOALS[name]

    def steps(self, segment: Segment, rewards: NDArray[Any] | None) -> _Numbers:  # noqa: ARG002
        if segment.states is None or segment.env != self.goal.env:
            raise DataError(f"a clip of {segment.env} does not show the goal {self.name!r}; wanted {self.goal.env}")
        return self.goal.steps(segment.states)


# --- what HalfCheetah's poses show


class _Cheetah(NamedTuple):
    """At each moment: whether the hind foot, the front foot and all else touch the floor, and how high the nose is."""

    hind: NDArray[np.bool_]
    front: NDArray[np.bool_]
    body: NDArray[np.bool_]
    nose: _Numbers


_HIND, _FRONT, _HEAD = 4, 7, 1  # places among the figure's limbs
_TOUCH: Final = 0.0  # metres of clearance at which MuJoCo reports a contact: this model has no margin


def _cheetah(poses: _Numbers) -> _Cheetah:
    """By forward kinematics of the drawn figure, which is the model's geometry."""
    model = figure("half_cheetah")
    ends = limb_ends(model, poses)[..., 1]  # (moments, limbs, 2 ends), heights of the middle line
    radii = np.array([limb["radius"] for limb in model.limbs])
    touches = ends.min(axis=-1) - radii <= _TOUCH
    others = [place for place in range(len(radii)) if place not in (_HIND, _FRONT)]
    return _Cheetah(touches[:, _HIND], touches[:, _FRONT], touches[:, others].any(axis=1), ends[:, _HEAD].max(axis=-1))


# --- one leg: forward on the hind leg alone (H, section 3.2)

_METRE: Final = 10.0  # what a metre forward is worth, in steps that cost 1


def _one_leg(poses: _Numbers) -> _Numbers:
    """Each metre forward counts, and costs; a step in which the front foot or the body touches the floor costs 1."""
    seen, moved = _cheetah(poses[1:]), np.diff(poses[:, 0])
    lame = seen.front | seen.body
    return np.where(lame, -1.0, 0.0) + _METRE * np.where(lame, np.minimum(moved, 0), moved)


def _one_leg_measured(poses: _Numbers) -> dict[str, float]:
    seen, moved = _cheetah(poses[1:]), np.diff(poses[:, 0])
    hops = ~(seen.front | seen.body)
    return {
        "one_legged_metres": float(moved[hops].sum()),  # forward, in an episode
        "one_legged_share": float(hops.mean()),  # of all steps: only the hind foot, or nothing, touches the floor
        "metres": float(poses[-1, 0] - poses[0, 0]),
        "hind_foot_share": float(seen.hind.mean()),
    }


# --- rear: stands up on its hind leg, nose high, and stays where it is

_HIGH: Final = 1.2  # metres of the nose: on all fours it is at 0.9
_TALL: Final = 1.6  # as high as counts
_STILL: Final = 5.0  # what a metre to either side costs


def _rear(poses: _Numbers) -> _Numbers:
    """The nose's height counts while nothing but the hind foot touches the floor; wandering off costs."""
    seen, moved = _cheetah(poses[1:]), np.abs(np.diff(poses[:, 0]))
    stands = seen.hind & ~seen.front & ~seen.body
    return np.asarray(np.where(stands, np.minimum(seen.nose, _TALL), 0.0) - 0.5 * seen.body - _STILL * moved)


def _rear_measured(poses: _Numbers) -> dict[str, float]:
    seen = _cheetah(poses[1:])
    up = seen.hind & ~seen.front & ~seen.body & (seen.nose > _HIGH)
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[False], up, [False]]))))[::2]
    return {
        "upright_share": float(up.mean()),  # of all steps: on the hind foot alone, the nose above 1.2 m
        "longest_stand": float(runs.max(initial=0)),  # steps at a stretch
        "strayed_metres": float(np.abs(poses[:, 0] - poses[0, 0]).max()),
        "body_share": float(seen.body.mean()),
    }


GOALS: Final[Mapping[str, Goal]] = MappingProxyType(
    {
        "one_leg": Goal(
            "HalfCheetah-v5",
            "In which clip does it get ahead better on its hind leg alone, the front leg off the floor?",
            _one_leg,
            _one_leg_measured,
        ),
        "rear": Goal(
            "HalfCheetah-v5",
            "In which clip does it stand up straighter on its hind leg, without walking off?",
            _rear,
            _rear_measured,
        ),
    }
)
