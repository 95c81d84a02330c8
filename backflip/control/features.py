"""What nets read of a vector observation: angles as sine and cosine and, for the predictor, what a clip shows.

For the Hopper that is how high each link is above the floor and whether it touches it: forward kinematics of the
observed height and angles, no more. Whoever watches sees it; a net that has a hundred answers would have to guess it.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from backflip.config import require
from backflip.control.flips import CONTACT, LINKS, clearances
from backflip.control.spaces import Space

__all__ = ["Features", "Look"]

Look = Literal["observation", "kinematics", "motion"]

_HOPPER: Final = "Hopper-v5"
_POSE: Final = 5  # numbers of the Hopper's pose in its observation; its velocities follow


class Features:
    """(.., n) observations to (.., size) numbers.

    `kinematics` are the observation and each link's height and touch; `motion` leaves the pose itself out: how fast,
    how high, and what touches the floor, whichever way up.
    """

    def __init__(self, space: Space, look: Look = "observation") -> None:
        require(
            look == "observation" or space.env == _HOPPER,
            "look",
            seen=look,
            wanted=f"'observation' for {space.env}: kinematics are known for {_HOPPER} alone",
        )
        self._angles, self._look = list(space.angles), look
        links = 0 if look == "observation" else 2 * len(LINKS)
        self.size = links + (space.size - _POSE if look == "motion" else space.size + len(self._angles))

    def __call__(self, observations: Tensor) -> Tensor:
        seen = observations.float()
        if self._look == "motion":
            return torch.cat([seen[..., _POSE:], _heights_and_touches(observations)], dim=-1)
        parts = [seen]
        if self._angles:  # one that grows without end: the tenth turn shall look like the first
            angles = seen[..., self._angles]
            parts = [seen.clone(), angles.cos()]
            parts[0][..., self._angles] = angles.sin()
        if self._look == "kinematics":
            parts.append(_heights_and_touches(observations))
        return torch.cat(parts, dim=-1)


def _heights_and_touches(observations: Tensor) -> Tensor:
    """Each link's height above the floor, as far as 1 m, and 1 where it touches it."""
    seen = observations.numpy()
    pose = np.concatenate([np.zeros_like(seen[..., :1]), seen[..., :_POSE]], axis=-1)
    heights = clearances(pose)
    return torch.from_numpy(np.concatenate([heights.clip(0, 1), heights <= CONTACT], axis=-1).astype(np.float32))
