"""What an agent has lived through, kept to be learned from again: whole rollouts in a ring, each observation once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from backflip.errors import DataError

__all__ = ["Judge", "Replay", "Transitions"]

Judge = Callable[[Tensor, Tensor], Tensor]  # rewards of steps, from observations and actions of one leading shape


class Transitions(NamedTuple):
    """Steps drawn at random, of any leading shape; observations as they were read."""

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    following: Tensor  # the observations that the steps led to


class Replay:
    """The last rollouts of `steps` steps of `count` environments; at most `capacity` steps, and at least one rollout.

    An observation is both where a step led and where the next began, so a rollout is steps + 1 rows of observations.
    """

    def __init__(self, *, steps: int, count: int, capacity: int, observation: int, actions: int) -> None:
        size = max(1, capacity // (steps * count))
        self.observations = torch.empty(size, steps + 1, count, observation)
        self.actions = torch.empty(size, steps, count, actions)
        self.rewards = torch.empty(size, steps, count)
        self.rollouts = 0  # ever added

    @property
    def filled(self) -> int:
        """Rollouts that it holds."""
        return min(self.rollouts, len(self.rewards))

    def __len__(self) -> int:
        return self.filled * self.rewards[0].numel()

    def add(self, *, observations: Tensor, actions: Tensor, rewards: Tensor) -> None:
        """A rollout, (steps + 1, count, ..) observations and (steps, count, ..) of the others; the oldest one goes."""
        place = self.rollouts % len(self.rewards)
        for kept, new in ((self.observations, observations), (self.actions, actions), (self.rewards, rewards)):
            if kept[0].shape != new.shape:
                raise DataError(f"a rollout has shape {tuple(new.shape)}; wanted {tuple(kept[0].shape)} in this replay")
            kept[place] = new
        self.rollouts += 1

    def relabel(self, judge: Judge) -> None:
        """Gives all steps the rewards that `judge` holds them worth by now."""
        for place in range(self.filled):
            self.rewards[place] = judge(self.observations[place, :-1], self.actions[place])

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Transitions:
        """Steps drawn with replacement."""
        return self._at(torch.randint(len(self), shape, generator=generator))

    def _at(self, at: Tensor) -> Transitions:
        count = self.rewards.shape[-1]
        row = at + at // self.rewards[0].numel() * count  # each rollout before has one more row of observations
        seen = self.observations.flatten(0, 2)
        return Transitions(seen[row], self.actions.flatten(0, 2)[at], self.rewards.flatten()[at], seen[row + count])

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Observations of at most so many different steps, (count, n)."""
        return self._at(torch.randperm(len(self), generator=generator)[:count]).observations

    # --- its checkpoint

    def state(self) -> dict[str, int | Tensor]:
        """What it holds."""
        kept = slice(self.filled)
        parts = {"observations": self.observations, "actions": self.actions, "rewards": self.rewards}
        return {"rollouts": self.rollouts} | {name: part[kept].clone() for name, part in parts.items()}

    def restore(self, state: Mapping[str, int | Tensor]) -> None:
        """Back to a checkpoint."""
        self.rollouts = int(state["rollouts"])
        for name in ("observations", "actions", "rewards"):
            getattr(self, name)[: self.filled] = state[name]
