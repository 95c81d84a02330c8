"""What nets read of a vector observation: angles as sine and cosine and, for the predictor, what a clip shows.

For the Hopper that is how high each link is above the floor and whether it touches it: forward kinematics of the
observed height and angles, no more. Whoever watches sees it; a net that has a hundred answers would have to guess it.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backflip.config import require
from backflip.control.flips import CONTACT, LINKS, clearances
from backflip.control.spaces import Space

__all__ = ["Features", "Look"]

Look = Literal["observation", "kinematics"]

_HOPPER: Final = "Hopper-v5"


class Features:
    """(.., n) observations to (.., size) numbers."""

    def __init__(self, space: Space, look: Look = "observation") -> None:
        require(
            look == "observation" or space.env == _HOPPER,
            "look",
            seen=look,
            wanted=f"'observation' for {space.env}: kinematics are known for {_HOPPER} alone",
        )
        self._angles, self._kinematics = list(space.angles), look == "kinematics"
        self.size = space.size + len(self._angles) + (2 * len(LINKS) if self._kinematics else 0)

    def __call__(self, observations: Tensor) -> Tensor:
        parts = [observations.float()]
        if self._angles:  # one that grows without end: the tenth turn shall look like the first
            angles = parts[0][..., self._angles]
            parts[0] = parts[0].clone()
            parts[0][..., self._angles] = angles.sin()
            parts.append(angles.cos())
        if self._kinematics:
            parts.append(torch.from_numpy(_heights_and_touches(observations.numpy())))
        return torch.cat(parts, dim=-1)


def _heights_and_touches(observations: NDArray[Any]) -> NDArray[np.float32]:
    """Each link's height above the floor, as far as 1 m, and 1 where it touches it."""
    pose = np.concatenate([np.zeros_like(observations[..., :1]), observations[..., :5]], axis=-1)
    heights = clearances(pose)
    return np.concatenate([heights.clip(0, 1), heights <= CONTACT], axis=-1).astype(np.float32)
