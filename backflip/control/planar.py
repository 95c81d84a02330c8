"""Planar robots as stick figures: from joint positions to the few lines, dots and bands that picture a moment.

The geometry (figures.json) is exported from the MuJoCo models by `python -m backflip.control.figures`. A moment is
drawn from the same list of shapes in the browser (studio/static/js/planar.js) and here: a test holds the two together.
Coordinates are (right, up) in metres, angles counter-clockwise; shapes are in pixels with the origin at the top left.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backflip.errors import DataError

__all__ = [
    "DARK",
    "LIGHT",
    "Band",
    "Dot",
    "Figure",
    "Line",
    "Palette",
    "Scene",
    "Shape",
    "figure",
    "figures",
    "limb_ends",
]

Floats = NDArray[np.float64]
_SMOOTH: Final = 12  # frames before and after over which the camera's way is averaged: it does not shake
_MARGIN: Final = 0.15  # metres kept free above the highest point of a clip


@dataclass(frozen=True)
class Figure:
    """One robot's geometry. `parts` are bodies, parents first; `limbs` are the capsules that hang on them.

    Attributes:
        name: "hopper", as clips name it.
        env: the Gymnasium environment that it was exported from.
        dt: seconds an environment step lasts.
        coordinates: numbers in one row of qpos.
        view: lowest and highest metre that the picture shows at least.
        follows: whether the camera follows the robot to the side, and up.
        floor: height of the floor, or None (seen from above, or hung on a rail).
        parts: each {"parent", "at", "joints": [{"slide": axis} | {"hinge": place, "sign"}, "q", "zero"]};
            the first is the world, the second what the camera follows.
        limbs: each {"part", "ends", "radius", "shade", "far"}; far ones stand first, and are drawn first.
        eye: {"part", "at", "radius"}: a mark that shows which end is up and which way it looks.
    """

    name: str
    env: str
    dt: float
    coordinates: int
    view: tuple[float, float]
    follows: tuple[bool, bool]
    floor: float | None
    parts: Sequence[Mapping[str, Any]]
    limbs: Sequence[Mapping[str, Any]]
    eye: Mapping[str, Any]


class Palette(NamedTuple):
    """Colours of a picture; a near limb has `near[shade]`, a far one `far[shade]`."""

    sky: str
    post: str
    ground: str
    tile: str
    edge: str
    outline: str
    near: tuple[str, ...]
    far: tuple[str, ...]
    eye: str


LIGHT: Final = Palette(
    sky="#f4f7fb",
    post="#e3e9f1",
    ground="#d5dce6",
    tile="#c3ccd9",
    edge="#8290a3",
    outline="#1d2733",
    near=("#2f6fde", "#4f8bf0", "#7aaaf7", "#f0883e", "#6b7787"),
    far=("#a3b7d9", "#b3c4e2", "#c4d2ea", "#e6c3a6", "#9aa4b1"),
    eye="#ffffff",
)
DARK: Final = Palette(
    sky="#151b24",
    post="#1f2733",
    ground="#2a3442",
    tile="#36424f",
    edge="#7d8a9a",
    outline="#05080c",
    near=("#5b95ff", "#7aabff", "#9dc2ff", "#ffa057", "#8794a5"),
    far=("#3b4e70", "#455a7e", "#52678c", "#7a5a3f", "#59636f"),
    eye="#0b0f15",
)


class Band(NamedTuple):
    """A filled rectangle."""

    left: float
    top: float
    right: float
    bottom: float
    colour: str


class Line(NamedTuple):
    """A thick line with round ends."""

    x0: float
    y0: float
    x1: float
    y1: float
    width: float
    colour: str


class Dot(NamedTuple):
    """A filled circle."""

    x: float
    y: float
    radius: float
    colour: str


Shape = Band | Line | Dot


@functools.cache
def figures() -> Mapping[str, Figure]:
    """All planar robots by name."""
    text = resources.files("backflip.control").joinpath("figures.json").read_text(encoding="utf-8")
    return {name: _decoded(name, entry) for name, entry in json.loads(text).items()}


def _decoded(name: str, entry: Mapping[str, Any]) -> Figure:
    pairs = {key: tuple(entry[key]) for key in ("view", "follows")}
    return Figure(name=name, **{**entry, **pairs})


def figure(name: str) -> Figure:
    """The planar robot of this name; DataError that lists all names if there is none."""
    try:
        return figures()[name]
    except KeyError:
        raise DataError(f"robot is {name!r}; wanted one of {', '.join(sorted(figures()))}") from None


class _Frames(NamedTuple):
    """Where each part is and how it is turned, at many moments."""

    places: Floats  # (parts, moments, 2)
    angles: Floats  # (parts, moments)

    def point(self, part: int, at: Sequence[float]) -> Floats:
        """A point that is fixed to a part, in the world; (moments, 2)."""
        place: Floats = self.places[part] + _turned(at, self.angles[part])
        return place


def _turned(vector: Sequence[float], angle: Floats) -> Floats:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([vector[0] * cos - vector[1] * sin, vector[0] * sin + vector[1] * cos], axis=-1)


def _frames(model: Figure, qpos: Floats) -> _Frames:
    """Forward kinematics as MuJoCo does it: a hinge turns the part about its place, a slide moves it."""
    places, angles = np.zeros((len(model.parts), len(qpos), 2)), np.zeros((len(model.parts), len(qpos)))
    for index, part in enumerate(model.parts[1:], start=1):
        above = angles[part["parent"]]
        place = places[part["parent"]] + _turned(part["at"], above)
        angle = above
        for joint in part["joints"]:
            moved = qpos[:, joint["q"]] - joint["zero"]
            if "slide" in joint:
                place = place + _turned(joint["slide"], angle) * moved[:, None]
            else:
                anchor = place + _turned(joint["hinge"], angle)
                angle = angle + joint["sign"] * moved
                place = anchor - _turned(joint["hinge"], angle)
        places[index], angles[index] = place, angle
    return _Frames(places, angles)


def limb_ends(model: Figure, qpos: Floats) -> Floats:
    """Both ends of every limb's middle line, at every moment: (moments, limbs, 2 ends, 2)."""
    frames = _frames(model, qpos)
    ends: Floats = np.array([[frames.point(limb["part"], end) for end in limb["ends"]] for limb in model.limbs])
    return ends.transpose(2, 0, 1, 3)


class Scene:
    """A clip of a robot, ready to be drawn at any size: `qpos` is (moments, coordinates).

    Raises DataError when the robot is unknown, or qpos is of another form or not finite.
    """

    def __init__(self, name: str, qpos: Any) -> None:
        self.figure = figure(name)
        self.qpos = _checked(self.figure, qpos)
        frames = _frames(self.figure, self.qpos)
        self._ends = limb_ends(self.figure, self.qpos)
        self._eye = frames.point(self.figure.eye["part"], self.figure.eye["at"])
        self._camera = _smoothed(frames.places[1]) * np.array(self.figure.follows)
        self._low, high = self.figure.view
        self._high = high if self.figure.follows[1] else max(high, self._top() + _MARGIN)

    def __len__(self) -> int:
        return len(self.qpos)

    def _top(self) -> float:
        radii = np.array([limb["radius"] for limb in self.figure.limbs])
        return float((self._ends[..., 1] + radii[None, :, None]).max())

    def shapes(self, frame: int, width: int, height: int, palette: Palette = LIGHT) -> list[Shape]:
        """What to draw, first things first, to picture one moment."""
        lens = _Lens(width, height, self._low, self._high, *self._camera[frame])
        eye = Dot(*lens.place(self._eye[frame]), self.figure.eye["radius"] * lens.scale, palette.eye)
        return [*_background(self.figure, lens, palette), *self._limbs(frame, lens, palette), eye]

    def _limbs(self, frame: int, lens: _Lens, palette: Palette) -> list[Shape]:
        rim = max(2.0, lens.height / 100)
        shapes: list[Shape] = []
        for limb, ends in zip(self.figure.limbs, self._ends[frame], strict=True):
            (x0, y0), (x1, y1) = (lens.place(end) for end in ends)
            thick = 2 * limb["radius"] * lens.scale
            colour = (palette.far if limb["far"] else palette.near)[limb["shade"]]
            shapes += [Line(x0, y0, x1, y1, thick + rim, palette.outline), Line(x0, y0, x1, y1, thick, colour)]
        return shapes


class _Lens(NamedTuple):
    """What part of the world a picture shows: `low` to `high` metres above `up`, and `side` in its middle."""

    width: int
    height: int
    low: float
    high: float
    side: float
    up: float

    @property
    def scale(self) -> float:
        return self.height / (self.high - self.low)

    def place(self, point: Sequence[float] | Floats) -> tuple[float, float]:
        across = self.width / 2 + self.scale * (float(point[0]) - self.side)
        return across, self.height - self.scale * (float(point[1]) - self.up - self.low)

    def metres(self) -> range:
        """The whole metres to the side that can be seen."""
        half = self.width / 2 / self.scale
        return range(math.floor(self.side - half), math.ceil(self.side + half) + 1)

    def rows(self) -> range:
        """The whole metres up that can be seen."""
        return range(math.floor(self.up + self.low), math.ceil(self.up + self.high) + 1)


def _background(figure: Figure, lens: _Lens, palette: Palette) -> list[Shape]:
    """The sky with a post at every metre (and, from above, a line at every metre up), and a floor of tiles."""
    rim = max(1.0, lens.height / 240)
    shapes: list[Shape] = [Band(0, 0, lens.width, lens.height, palette.sky)]
    for metre in lens.metres():
        x, _ = lens.place((metre, 0))
        shapes.append(Band(x - rim, 0, x + rim, lens.height, palette.post))
    if figure.follows[1]:
        for metre in lens.rows():
            _, y = lens.place((0, metre))
            shapes.append(Band(0, y - rim, lens.width, y + rim, palette.post))
    if figure.floor is not None:
        shapes += _floor(figure.floor, lens, palette, rim)
    return shapes


def _floor(height: float, lens: _Lens, palette: Palette, rim: float) -> list[Shape]:
    _, top = lens.place((0, height))
    shapes: list[Shape] = [Band(0, top, lens.width, lens.height, palette.ground)]
    for metre in lens.metres():
        left, _ = lens.place((metre, 0))
        shapes.append(Band(left, top, left + lens.scale / 2, lens.height, palette.tile))  # every other half metre
    return [*shapes, Band(0, top, lens.width, top + 2 * rim, palette.edge)]


def _checked(model: Figure, qpos: Any) -> Floats:
    array = np.asarray(qpos, dtype=np.float64)
    if array.ndim != 2 or not len(array) or array.shape[1] != model.coordinates:
        raise DataError(f"qpos has shape {array.shape}; wanted (moments, {model.coordinates}) for {model.name}")
    if not np.isfinite(array).all():
        raise DataError(f"qpos of {model.name} holds NaN or infinity; wanted the finite positions of a simulation")
    return array


def _smoothed(way: Floats) -> Floats:
    """The mean over the frames near each frame, fewer at the clip's ends."""
    summed = np.concatenate([np.zeros((1, 2)), np.cumsum(way, axis=0)])
    index = np.arange(len(way))
    reach = np.minimum(_SMOOTH, np.minimum(index, len(way) - 1 - index))
    first, last = index - reach, index + reach + 1
    mean: Floats = (summed[last] - summed[first]) / (last - first)[:, None]
    return mean
