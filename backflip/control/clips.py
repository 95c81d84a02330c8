"""Clips: segments made into something that people can look at, once, when it is asked about.

A planar robot's clip is its poses (some kB of JSON, which the browser draws); all else is a film. What is not asked
about is never drawn. Films play in real time; poses say how fast they are shown: a Hopper's step is 8 ms, so sixty of
them at 40 a second are seen at a third of their true speed, which is what an eye can follow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from backflip.control.planar import Figure, Scene, figures
from backflip.control.render import Picture, Renderer, encode
from backflip.control.segments import Segment
from backflip.errors import DataError
from backflip.feedback.media import Media

__all__ = ["FASTEST", "SMOOTH", "Filming", "figure_of", "planar_clip", "speed"]

FASTEST: Final = 40.0  # frames a second at which poses are shown at most
SMOOTH: Final = 25.0  # pictures a second that a film has at most: of a faster robot every second or third step is drawn
_DIGITS: Final = 4  # a tenth of a millimetre
_GAME_FPS: Final = 15.0  # an Atari agent acts at every fourth of 60 frames
_ENLARGED: Final = 4  # 84 pixels are few


def figure_of(env: str) -> Figure | None:
    """The planar robot of an environment, by its name without its version; None if it is none."""
    name = env.rpartition("-v")[0]
    return next((figure for figure in figures().values() if figure.env.rpartition("-v")[0] == name), None)


def planar_clip(figure: Figure, poses: NDArray[np.float64], *, dt: float | None = None) -> dict[str, Any]:
    """The JSON of a planar robot's clip; DataError where the poses are not its own."""
    step = dt or figure.dt
    qpos = np.round(Scene(figure.name, poses).qpos, _DIGITS) + 0.0  # no -0.0: equal clips have equal bytes
    fps = round(min(FASTEST, 1 / step), 3)
    return {"format": "planar", "robot": figure.name, "dt": step, "fps": fps, "qpos": qpos.tolist()}


def speed(clip: dict[str, Any]) -> float:
    """How fast a planar clip is shown: 1 is real time, 0.32 about three times slower."""
    return float(clip["dt"] * clip["fps"])


class Filming:
    """Makes the media of segments: `Filming(media)(segment)` is the key. Its renderers are made when first needed.

    Raises DataError for an environment with neither poses nor pictures, DependencyError where a film cannot be made,
    OutOfSpace when the disk is full.
    """

    def __init__(self, media: Media, *, kind: str = "mp4", size: int = 256) -> None:
        self.media, self._kind, self._size = media, kind, size
        self._renderers: dict[str, Renderer] = {}

    def __call__(self, segment: Segment) -> str:
        if segment.states is None:
            return self._film(_game(segment), _GAME_FPS)
        if figure := figure_of(segment.env):
            return self.media.put_json(planar_clip(figure, segment.states))
        renderer = self._renderer(segment.env)
        every = max(1, math.ceil(1 / renderer.dt / SMOOTH - 1e-6))
        drawn = (renderer.draw(pose) for pose in segment.states[::every])
        return self._film(drawn, 1 / renderer.dt / every)

    def _film(self, pictures: Iterable[Picture], fps: float) -> str:
        return self.media.put(encode(pictures, fps=fps, kind=self._kind), self._kind)

    def _renderer(self, env: str) -> Renderer:
        if env not in self._renderers:
            self._renderers[env] = Renderer(env, width=self._size, height=self._size)
        return self._renderers[env]

    def close(self) -> None:
        """Frees the renderers."""
        while self._renderers:
            with suppress(Exception):  # the context may be gone with its driver; there is nothing else to free
                self._renderers.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _game(segment: Segment) -> list[Picture]:
    """The newest picture of each stack, enlarged."""
    pictures = segment.observations
    if pictures.ndim != 4 or pictures.dtype != np.uint8:
        raise DataError(
            f"a clip of {segment.env} has neither poses nor pictures (observations of shape {pictures.shape[1:]}), so "
            "people cannot look at it; wanted a MuJoCo or Atari environment, or a simulated teacher"
        )
    newest = pictures[:, -1] if pictures.shape[1] != 3 else pictures.mean(axis=1).astype(np.uint8)
    large = newest.repeat(_ENLARGED, axis=1).repeat(_ENLARGED, axis=2)
    return [np.repeat(picture[:, :, None], 3, axis=2) for picture in large]
