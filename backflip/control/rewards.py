"""The backflip reward that a researcher wrote by hand, which the answers are compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["hand_written"]


def hand_written(observations: NDArray[Any], actions: NDArray[Any]) -> NDArray[np.float64]:
    """OpenAI's reward function of June 2017 for the Hopper's backflip, (..,), of (.., 11) and (.., 3).

    `backroll * (1 + 0.3 height + 0.1 vel_act + 0.05 backslide)`; the observation is without x, as Gymnasium's is.
    """
    ob, act = np.moveaxis(observations, -1, 0), np.moveaxis(np.clip(actions, -1, 1), -1, 0)
    backroll, height, backslide = -ob[7], ob[0], -ob[5]
    effort = act[0] * ob[8] + act[1] * ob[9] + act[2] * ob[10]
    return np.asarray(backroll * (1 + 0.3 * height + 0.1 * effort + 0.05 * backslide), dtype=np.float64)
