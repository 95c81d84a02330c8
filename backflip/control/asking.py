"""When to ask, and what: a rate of labels that falls with the steps, and pairs that are worth an answer (H, 2.2.4)."""

from __future__ import annotations

from dataclasses import dataclass
from math import log1p

import numpy as np
from torch import Tensor

from backflip.config import require
from backflip.feedback.selection import Method, choose, priorities

__all__ = ["AskingSettings", "choose_pairs", "due", "random_pairs"]

Pairs = list[tuple[int, int]]  # of clips, by their places


@dataclass(frozen=True)
class AskingSettings:
    """How many questions, when, and which."""

    budget: int = 300
    """Answers in all."""
    first_share: float = 0.25
    """The share of them that is asked about the random policy, before it learns (H: a quarter)."""
    method: Method = "mix"
    """disagreement: the highest variance of the predicted preference (H); mix: half of them at random."""
    factor: int = 10
    """Pairs looked at for each that is asked (H: 10)."""
    anneal: float = 2e6
    """The rate falls as anneal / (T + anneal) with the steps T (H: 2e6 for MuJoCo, 5e6 for Atari)."""

    until: float = 1.0
    """By this share of the run all is asked; after it the reward stands still, and the agent settles on it."""

    def __post_init__(self) -> None:
        require(0 < self.until <= 1, "until", seen=self.until, wanted="above 0, and 1 at most")
        require(self.budget >= 0, "budget", seen=self.budget, wanted="0 or more")
        require(0 <= self.first_share <= 1, "first_share", seen=self.first_share, wanted="a share from 0 to 1")
        require(self.factor >= 1, "factor", seen=self.factor, wanted="1 or more")
        require(self.anneal > 0, "anneal", seen=self.anneal, wanted="a number above 0")

    @property
    def first(self) -> int:
        """Answers about the random policy."""
        return round(self.budget * self.first_share)


def due(settings: AskingSettings, *, step: int, steps: int) -> int:
    """Answers that should have been asked for after `step` of `steps` environment steps."""
    steps = round(steps * settings.until)
    if step >= steps:
        return settings.budget
    share = log1p(step / settings.anneal) / log1p(steps / settings.anneal)  # the integral of the rate
    return settings.first + int((settings.budget - settings.first) * share)


def random_pairs(clips: int, count: int, draw: np.random.Generator) -> Pairs:
    """Pairs of different clips out of so many, each at most once."""
    first = draw.integers(clips, size=4 * count)
    second = draw.integers(clips, size=4 * count)
    pairs = {(min(a, b), max(a, b)): None for a, b in zip(first.tolist(), second.tolist(), strict=True) if a != b}
    return list(pairs)[:count]


def choose_pairs(sums: Tensor, pairs: Pairs, *, count: int, method: Method, seed: int, lapse: float) -> Pairs:
    """`count` of the pairs, from each member's sum over each clip, (members, clips)."""
    scores = sums.double().numpy()[:, np.array(pairs).reshape(-1, 2)].transpose(1, 0, 2)  # (pairs, members, 2)
    found = priorities(scores, method, seed=seed, lapse=lapse)
    return [pairs[i] for i in choose(found, count)]
