"""What HalfCheetah's poses show, and two things that it may be wanted to do: to go on one leg, and to rear."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backflip.control.planar import figure, limb_ends

__all__ = ["one_leg", "one_leg_measured", "rear", "rear_measured"]

_Numbers = NDArray[np.float64]


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


def one_leg(poses: _Numbers) -> _Numbers:
    """Each metre forward counts, and costs; a step in which the front foot or the body touches the floor costs 1."""
    seen, moved = _cheetah(poses[1:]), np.diff(poses[:, 0])
    lame = seen.front | seen.body
    return np.where(lame, -1.0, 0.0) + _METRE * np.where(lame, np.minimum(moved, 0), moved)


def one_leg_measured(poses: _Numbers) -> dict[str, float]:
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


def rear(poses: _Numbers) -> _Numbers:
    """The nose's height counts while nothing but the hind foot touches the floor; wandering off costs."""
    seen, moved = _cheetah(poses[1:]), np.abs(np.diff(poses[:, 0]))
    stands = seen.hind & ~seen.front & ~seen.body
    return np.asarray(np.where(stands, np.minimum(seen.nose, _TALL), 0.0) - 0.5 * seen.body - _STILL * moved)


def rear_measured(poses: _Numbers) -> dict[str, float]:
    seen = _cheetah(poses[1:])
    up = seen.hind & ~seen.front & ~seen.body & (seen.nose > _HIGH)
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[False], up, [False]]))))[::2]
    return {
        "upright_share": float(up.mean()),  # of all steps: on the hind foot alone, the nose above 1.2 m
        "longest_stand": float(runs.max(initial=0)),  # steps at a stretch
        "strayed_metres": float(np.abs(poses[:, 0] - poses[0, 0]).max()),
        "body_share": float(seen.body.mean()),
    }
