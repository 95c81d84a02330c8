"""MuJoCo's robots: how to make each with a fixed horizon, and where its pose stands in what it shows.

A pose is `qpos`. Gymnasium's observations leave out where the robot is (x, or x and y) and begin with the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

__all__ = ["ROBOTS", "Robot"]


@dataclass(frozen=True)
class Robot:
    """`pose` numbers of qpos, of which `hidden` are not observed; `angles` are observed angles without bounds."""

    pose: int
    hidden: tuple[str, ...] = ("x_position",)
    angles: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


_NEVER_DONE: Final = MappingProxyType({"terminate_when_unhealthy": False})

ROBOTS: Final[Mapping[str, Robot]] = MappingProxyType(
    {
        "Hopper-v5": Robot(6, angles=(1,), options=_NEVER_DONE),
        "Walker2d-v5": Robot(9, angles=(1,), options=_NEVER_DONE),
        "HalfCheetah-v5": Robot(9, angles=(1,)),
        "Swimmer-v5": Robot(5, ("x_position", "y_position"), angles=(0,)),
        "Ant-v5": Robot(15, ("x_position", "y_position"), options=_NEVER_DONE),
        "Humanoid-v5": Robot(24, ("x_position", "y_position"), options=_NEVER_DONE),
        "InvertedPendulum-v5": Robot(2, ()),
    }
)
