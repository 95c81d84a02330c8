"""What an environment takes and gives, as the agent, the predictor and the clips need to know it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Space"]


@dataclass(frozen=True)
class Space:
    """Observations are vectors (`image` false) or stacks of pictures (channels, height, width) of bytes.

    A discrete action is a number below `actions`; a box action is `actions` numbers in [-1, 1], which the environment's
    wrapper stretches to the true bounds. `angles` are the places of observed angles that grow without end: a network
    reads their sine and cosine.
    """

    env: str
    observation: tuple[int, ...]
    actions: int
    discrete: bool = False
    image: bool = False
    angles: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Numbers in a vector observation."""
        return self.observation[0]
