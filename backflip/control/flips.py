"""Flips of the Hopper: turns, contacts and landings, told from poses (qpos) alone, as an onlooker would.

A **clean flip** is a complete turn backwards (-2 pi of the unwrapped angle; windows do not overlap) with at least one
airborne step and no floor contact by any link but the foot. Observed velocities are clipped, so turns are read off the
angle itself. Contact is worked out by forward kinematics, which a test holds to MuJoCo's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CONTACT",
    "LINKS",
    "PER",
    "TURN",
    "UPRIGHT",
    "Contacts",
    "FlipCount",
    "clearances",
    "contacts",
    "count_flips",
    "mean_flips",
]

LINKS: Final = ("torso", "thigh", "leg", "foot")
CONTACT: Final = 0.002  # clearance (m) at and below which MuJoCo reports a contact: the margins of geom and floor
TURN: Final = 2 * math.pi
UPRIGHT: Final = 0.5  # radians off the vertical at which a landing still counts as upright
PER: Final = 1000  # steps (8 s) that all counts are told for

_RADII: Final = np.array([0.05, 0.05, 0.04, 0.06])


def clearances(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Height of each link's lowest point above the floor, (..., nq) -> (..., 4) in the order of LINKS.

    The Hopper (gymnasium's hopper.xml) is a chain of capsules in a plane: torso, thigh, leg, foot.
    """
    _, torso, turned, thigh, leg, foot = np.moveaxis(np.asarray(poses, dtype=np.float64), -1, 0)
    thigh = turned - thigh  # from joint angles to angles off the vertical
    leg = thigh - leg
    foot = leg - foot
    hip = torso - 0.2 * np.cos(turned)
    knee = hip - 0.45 * np.cos(thigh)
    ankle = knee - 0.5 * np.cos(leg)
    toe, heel = ankle - 0.26 * np.sin(foot), ankle + 0.13 * np.sin(foot)
    ends = [(torso + 0.2 * np.cos(turned), hip), (hip, knee), (knee, ankle), (toe, heel)]
    lowest: NDArray[np.float64] = np.stack([np.minimum(a, b) for a, b in ends], axis=-1) - _RADII
    return lowest


@dataclass(frozen=True)
class Contacts:
    """What touches the floor at each step, (steps,) or (episodes, steps)."""

    body: NDArray[np.bool_]  # any link but the foot
    foot: NDArray[np.bool_]

    @property
    def airborne(self) -> NDArray[np.bool_]:
        return ~(self.body | self.foot)


def contacts(poses: NDArray[np.float64]) -> Contacts:
    """Who touches the floor in each pose."""
    touching = clearances(poses) <= CONTACT
    return Contacts(body=np.asarray(touching[..., :3].any(axis=-1)), foot=touching[..., 3])


@dataclass(frozen=True)
class FlipCount:
    """What a stretch of poses holds, all but the share per 1000 steps; turns backwards count as positive."""

    clean_flips: float
    net_turns: float
    airborne_turns: float
    body_floor_share: float
    upright_landings: float


def count_flips(poses: NDArray[np.float64]) -> FlipCount:
    """Counts in one episode's poses, (steps + 1, nq): the first is where it starts."""
    touch, steps = contacts(poses), len(poses) - 1
    turned = -(poses[:, 2] - poses[0, 2]) / TURN
    moved = np.diff(turned)
    scale = PER / steps
    return FlipCount(
        clean_flips=_clean(turned, touch) * scale,
        net_turns=float(turned[-1]) * scale,
        airborne_turns=float(moved[touch.airborne[1:]].sum()) * scale,
        body_floor_share=float(touch.body[1:].mean()),
        upright_landings=_landings(turned, poses[:, 2], touch) * scale,
    )


def _clean(turned: NDArray[np.float64], touch: Contacts) -> int:
    """Complete turns in stretches without body contact, each counted from the lowest point since the last one."""
    flips, base, flew = 0, math.inf, False
    for now, body, airborne in zip(turned.tolist(), touch.body.tolist(), touch.airborne.tolist(), strict=True):
        if body:
            base = math.inf
            continue
        if now < base:
            base, flew = now, False
        flew = flew or airborne
        if now - base >= 1 and flew:
            flips, base, flew = flips + 1, now, False
    return flips


def _landings(turned: NDArray[np.float64], angles: NDArray[np.float64], touch: Contacts) -> int:
    """Landings on the foot alone, upright, after at least half a turn backwards in the air or since the last one."""
    landed, base, was_airborne = 0, turned[0], False
    for now, angle, body, airborne in zip(turned, angles, touch.body, touch.airborne, strict=True):
        if body:
            base = now
        elif was_airborne and not airborne:
            if now - base >= 0.5 and abs(math.remainder(angle, TURN)) <= UPRIGHT:
                landed += 1
            base = now
        was_airborne = bool(airborne)
    return landed


def mean_flips(counts: Sequence[FlipCount]) -> FlipCount:
    """The mean of each figure over episodes."""
    return FlipCount(**{f.name: float(np.mean([getattr(c, f.name) for c in counts])) for f in fields(FlipCount)})
