"""Scenes as pictures and GIFs, with Pillow: the same shapes as the browser draws, for files and for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from backflip.control.planar import LIGHT, Band, Line, Palette, Scene, Shape
from backflip.errors import DependencyError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["draw", "gif", "pixels"]

_FINER: Final = 3  # drawn so many times larger and then shrunk: edges without steps
_COLOURS: Final = 64  # of a GIF


def draw(
    scene: Scene, frame: int, *, width: int = 320, height: int = 240, palette: Palette = LIGHT, finer: int = _FINER
) -> Image:
    """One moment as a picture; the same scene and size give the same pixels."""
    image, drawing = _canvas(width * finer, height * finer)
    for shape in scene.shapes(frame, width * finer, height * finer, palette):
        _put(drawing, shape)
    return image.resize((width, height), resample=4) if finer > 1 else image  # 4 is Pillow's BOX


def pixels(
    scene: Scene, frame: int, *, width: int = 320, height: int = 240, palette: Palette = LIGHT
) -> NDArray[np.uint8]:
    """`draw`, as (height, width, 3)."""
    return np.asarray(draw(scene, frame, width=width, height=height, palette=palette))


def gif(frames: Iterable[Image], *, fps: float) -> bytes:
    """An endless GIF; its colours are chosen once, from the first frame, so that nothing flickers.

    A GIF counts in hundredths of a second, so `fps` is met as near as that allows.
    """
    from PIL.Image import Dither

    pictures = list(frames)
    first = pictures[0].quantize(_COLOURS, method=2)
    rest = [picture.quantize(palette=first, dither=Dither.NONE) for picture in pictures[1:]]
    sink = BytesIO()
    durations = _hundredths(len(pictures), fps)
    first.save(sink, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=False, disposal=1)
    return sink.getvalue()


def _hundredths(count: int, fps: float) -> list[int]:
    """Milliseconds of each frame, all multiples of ten, whose sum keeps to the clock."""
    ends = [max(i + 1, round((i + 1) * 100 / fps)) for i in range(count)]
    return [10 * max(1, end - start) for start, end in zip([0, *ends], ends, strict=False)]


def _canvas(width: int, height: int) -> tuple[Image, Any]:
    try:
        from PIL import Image as Images
        from PIL import ImageDraw
    except ImportError as error:
        raise DependencyError("pictures need Pillow: pip install 'backflip[control]'") from error
    image = Images.new("RGB", (width, height))
    return image, ImageDraw.Draw(image)


def _put(drawing: Any, shape: Shape) -> None:
    if isinstance(shape, Band):
        if shape.right > shape.left and shape.bottom > shape.top:
            edges = [round(shape.left), round(shape.top), round(shape.right) - 1, round(shape.bottom) - 1]
            if edges[2] >= edges[0] and edges[3] >= edges[1]:
                drawing.rectangle(edges, fill=shape.colour)
    elif isinstance(shape, Line):
        drawing.line([(shape.x0, shape.y0), (shape.x1, shape.y1)], fill=shape.colour, width=round(shape.width))
        for x, y in ((shape.x0, shape.y0), (shape.x1, shape.y1)):
            _circle(drawing, (x, y), shape.width / 2, shape.colour)
    else:
        _circle(drawing, (shape.x, shape.y), shape.radius, shape.colour)


def _circle(drawing: Any, centre: Sequence[float], radius: float, colour: str) -> None:
    x, y = centre
    drawing.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)
