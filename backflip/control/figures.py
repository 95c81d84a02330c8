"""`python -m backflip.control.figures`: exports the planar robots' geometry from their MuJoCo models.

It writes figures.json, which `backflip.control.planar` reads, and the same as a module for the browser. Both are
committed: drawing needs no MuJoCo. A test exports anew and compares.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from backflip.errors import DataError, DependencyError

__all__ = ["export", "main"]

_DIGITS: Final = 6
_PACKAGE: Final = Path(__file__).resolve().parents[1]
_JSON: Final = _PACKAGE / "control" / "figures.json"
_MODULE: Final = _PACKAGE / "studio" / "static" / "js" / "figures.js"
_ABOUT: Final = "// Geometry of the planar robots, written by `python -m backflip.control.figures`; not to be edited.\n"


class _Look(NamedTuple):
    """What a model does not say: how it is looked at. `across` is the model's axis that points up in the picture."""

    env: str
    view: tuple[float, float]
    follows: tuple[bool, bool] = (True, False)
    floor: float | None = 0.0
    across: int = 2
    eye: tuple[int, float, float] = (1, 0.015, 0.2)  # body, and the place on it


_LOOKS: Final[Mapping[str, _Look]] = {
    "hopper": _Look("Hopper-v5", (-0.3, 2.1)),
    "walker2d": _Look("Walker2d-v5", (-0.3, 2.1)),
    "half_cheetah": _Look("HalfCheetah-v5", (-0.3, 1.8), eye=(1, 0.69, 0.2)),
    "swimmer": _Look("Swimmer-v5", (-2.2, 2.2), follows=(True, True), floor=None, across=1, eye=(1, 1.5, 0.0)),
    "inverted_pendulum": _Look("InvertedPendulum-v5", (-0.8, 0.8), (False, False), None, eye=(2, 0.0, 0.6)),
    "inverted_double_pendulum": _Look(
        "InvertedDoublePendulum-v5", (-1.4, 1.4), (False, False), None, eye=(3, 0.0, 0.6)
    ),
}
_SHADES: Final[tuple[tuple[str, int], ...]] = (  # by the first of these that stands in the geom's or body's name
    ("thigh", 1),
    ("leg", 2),
    ("shin", 2),
    ("foot", 3),
    ("rail", 4),
    ("cart", 3),
    ("cpole2", 1),
    ("mid", 1),
    ("back", 2),
)


def export() -> dict[str, Any]:
    """All planar robots, as figures.json holds them; DependencyError without gymnasium[mujoco]."""
    return {name: _figure(look) for name, look in _LOOKS.items()}


def _figure(look: _Look) -> dict[str, Any]:
    try:
        import gymnasium

        env: Any = gymnasium.make(look.env).unwrapped
    except ImportError as error:
        raise DependencyError(f"{look.env} needs gymnasium[mujoco]: pip install 'backflip[control]'") from error
    model = env.model
    limbs = sorted(
        (_limb(model, geom, look) for geom in range(model.ngeom) if model.geom_type[geom] == _CAPSULE),
        key=lambda limb: not limb["far"],
    )
    body, *at = look.eye
    described = {
        "env": look.env,
        "dt": float(env.dt),
        "coordinates": int(model.nq),
        "view": look.view,
        "follows": look.follows,
        "floor": look.floor,
        "parts": [_part(model, body, look) for body in range(model.nbody)],
        "limbs": limbs,
        "eye": {"part": body, "at": at, "radius": round(max(0.025, 0.5 * _radius_of(limbs, body)), 3)},
    }
    env.close()
    return {key: _rounded(value) for key, value in described.items()}


_SLIDE, _HINGE, _CAPSULE = 2, 3, 3  # MuJoCo's mjJNT_SLIDE, mjJNT_HINGE, mjGEOM_CAPSULE


def _radius_of(limbs: list[dict[str, Any]], body: int) -> float:
    return min(float(limb["radius"]) for limb in limbs if limb["part"] == body)


def _flat(vector: Any, look: _Look) -> list[float]:
    return [float(vector[0]), float(vector[look.across])]


def _part(model: Any, body: int, look: _Look) -> dict[str, Any]:
    if abs(float(model.body_quat[body][0])) < 1 - 1e-9:
        raise DataError(f"body {body} of {look.env} is turned in its parent; wanted a model whose bodies are not")
    first, count = int(model.body_jntadr[body]), int(model.body_jntnum[body])
    return {
        "parent": int(model.body_parentid[body]) if body else -1,
        "at": _flat(model.body_pos[body], look),
        "joints": [_joint(model, joint, look) for joint in range(first, first + count)],
    }


def _joint(model: Any, joint: int, look: _Look) -> dict[str, Any]:
    """Seen along +y a turn about +y goes clockwise; seen from above one about +z goes the other way."""
    q = int(model.jnt_qposadr[joint])
    common = {"q": q, "zero": float(model.qpos0[q])}
    axis = model.jnt_axis[joint]
    if model.jnt_type[joint] == _SLIDE:
        return {"slide": _flat(axis, look), **common}
    if model.jnt_type[joint] != _HINGE:
        raise DataError(f"joint {joint} of {look.env} is neither a slide nor a hinge; wanted a planar robot")
    sign = -float(axis[1]) if look.across == 2 else float(axis[2])
    return {"hinge": _flat(model.jnt_pos[joint], look), "sign": sign, **common}


def _limb(model: Any, geom: int, look: _Look) -> dict[str, Any]:
    centre, half = model.geom_pos[geom], float(model.geom_size[geom][1])
    along = _axis(model.geom_quat[geom])
    ends = [_flat([c + sign * half * a for c, a in zip(centre, along, strict=True)], look) for sign in (1, -1)]
    body = int(model.geom_bodyid[geom])
    name = f"{model.geom(geom).name} {model.body(body).name}"
    shade = next((shade for word, shade in _SHADES if word in name), 0)
    return {
        "part": body,
        "ends": ends,
        "radius": float(model.geom_size[geom][0]),
        "shade": shade,
        "far": "left" in name,
    }


def _axis(quaternion: Any) -> tuple[float, float, float]:
    """Where a capsule's own z axis points."""
    w, x, y, z = (float(value) for value in quaternion)
    return 2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return round(value, _DIGITS) + 0.0 if type(value) is float and math.isfinite(value) else value


def main() -> int:
    """Writes both files."""
    content = export()
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in content.items())
    _JSON.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    _MODULE.parent.mkdir(parents=True, exist_ok=True)
    _MODULE.write_text(f"{_ABOUT}export const FIGURES = {{\n{lines}\n}};\n", encoding="utf-8")
    print(f"{len(content)} robots: {_JSON}, {_MODULE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
