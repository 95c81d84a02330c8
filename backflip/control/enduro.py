"""What Enduro's pictures show: whether another car is level with the player's, by day.

The player's car is white and stands in the lowest rows of the road; the others are bright patches wider than the
edges of the road. By night and in fog they are not seen so, and nothing counts.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["level", "level_measured"]

_ROWS: Final = slice(54, 62)  # where the player's car is, of the 84
_BRIGHT: Final = 70  # of 255; the road is at 40
_WIDE: Final = 5  # pixels; an edge of the road is one to three


def level(pictures: NDArray[Any]) -> NDArray[np.float64]:
    """1 for each picture, (.., 84, 84), that shows a second car in the rows of the player's."""
    bright = pictures[..., _ROWS, :] > _BRIGHT
    windows = np.asarray(np.lib.stride_tricks.sliding_window_view(bright, _WIDE, axis=-1).all(axis=-1))
    begins = windows[..., 1:] & ~windows[..., :-1]
    patches = begins.sum(axis=-1) + windows[..., 0]
    return np.asarray((patches >= 2).any(axis=-1), dtype=np.float64)


def level_measured(pictures: NDArray[Any]) -> dict[str, float]:
    """The share of an episode's steps, and the longest stretch, level with another car."""
    beside = level(pictures) > 0
    turns = np.flatnonzero(np.diff(np.concatenate([[False], beside, [False]])))
    return {"level_share": float(beside.mean()), "longest_level": float(np.diff(turns)[::2].max(initial=0))}
