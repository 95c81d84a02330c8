"""MuJoCo's robots: how to make each with a fixed horizon, where its pose stands in what it shows, and what it is paid.

A pose is `qpos`. Most of Gymnasium's observations leave out where the robot is (x, or x and y) and begin with the
rest; `read` tells how the others are read. The pendula's own episodes end when they fall. Here they go on: a fallen
pendulum is paid no bonus, and that is all that it loses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["ROBOTS", "Robot"]

_Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Robot:
    """`pose` numbers of qpos, of which `hidden` are not observed; `angles` are observed angles without bounds.

    `options` are for every backend, `endless` for envpool's alone: to never end an episode. `paid` then takes back the
    bonus that envpool would pay to the fallen. `read` gives the pose where the observation does not begin with it.
    """

    pose: int
    hidden: tuple[str, ...] = ("x_position",)
    angles: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    endless: Mapping[str, Any] = field(default_factory=dict)
    read: Callable[[_Numbers], _Numbers] | None = None
    paid: Callable[[_Numbers, _Numbers], _Numbers] | None = None  # of observations and the backend's rewards


def _reacher(seen: _Numbers) -> _Numbers:
    """cos, cos, sin, sin of the joints, and the target."""
    return np.concatenate([np.arctan2(seen[:, 2:4], seen[:, :2]), seen[:, 4:6]], axis=1)


def _double_pendulum(seen: _Numbers) -> _Numbers:
    """x, and sin, sin, cos, cos of the joints."""
    return np.concatenate([seen[:, :1], np.arctan2(seen[:, 1:3], seen[:, 3:5])], axis=1)


def _while_it_stands(seen: _Numbers, paid: _Numbers) -> _Numbers:
    """1 within 0.2 radians of the vertical."""
    return np.where(np.abs(seen[:, 1]) <= _UPRIGHT, paid, 0.0)


def _while_both_stand(seen: _Numbers, paid: _Numbers) -> _Numbers:
    """10 while the tip is above 1 m, less the penalties, which are always paid."""
    first, second = _double_pendulum(seen)[:, 1:].T
    tip = _POLE * (np.cos(first) + np.cos(first + second))
    return np.where(tip > 1, paid, paid - _BONUS)


_UPRIGHT: Final = 0.2
_POLE: Final = 0.6  # metres of each of the two
_BONUS: Final = 10.0
_NEVER_DONE: Final = MappingProxyType({"terminate_when_unhealthy": False})

ROBOTS: Final[Mapping[str, Robot]] = MappingProxyType(
    {
        "Hopper-v5": Robot(6, angles=(1,), options=_NEVER_DONE),
        "Walker2d-v5": Robot(9, angles=(1,), options=_NEVER_DONE),
        "HalfCheetah-v5": Robot(9, angles=(1,)),
        "Swimmer-v5": Robot(5, ("x_position", "y_position"), angles=(0,)),
        "Ant-v5": Robot(15, ("x_position", "y_position"), options=_NEVER_DONE),
        "Humanoid-v5": Robot(24, ("x_position", "y_position"), options=_NEVER_DONE),
        "Reacher-v5": Robot(4, (), read=_reacher),
        "InvertedPendulum-v5": Robot(
            2,
            (),
            endless=MappingProxyType({"healthy_z_min": -math.inf, "healthy_z_max": math.inf}),
            paid=_while_it_stands,
        ),
        "InvertedDoublePendulum-v5": Robot(
            3,
            (),
            endless=MappingProxyType({"healthy_z_max": -math.inf}),
            read=_double_pendulum,
            paid=_while_both_stand,
        ),
    }
)
