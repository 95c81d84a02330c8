"""What to ask next: of ten times as many pairs as are wanted, those that the ensemble disagrees on most (H, 2.2.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log1p
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from backflip.config import require

__all__ = ["AskingSettings", "choose_pairs", "due", "random_pairs"]

Rule = Literal["disagreement", "random", "mix"]


@dataclass(frozen=True)
class AskingSettings:
    """How many questions, when, and which."""

    budget: int = 300
    """Answers in all."""
    first_share: float = 0.25
    """The share of them that is asked about the random policy, before it learns (H: a quarter)."""
    rule: Rule = "mix"
    """disagreement: the highest variance of the predicted preference; mix: half of them at random."""
    factor: int = 10
    """Pairs looked at for each that is asked."""
    anneal: float = 2e6
    """The rate falls as anneal / (T + anneal) with the steps T (H: 2e6 for MuJoCo, 5e6 for Atari)."""

    def __post_init__(self) -> None:
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
    if step >= steps:
        return settings.budget
    share = log1p(step / settings.anneal) / log1p(steps / settings.anneal)  # the integral of the rate
    return settings.first + int((settings.budget - settings.first) * share)


def random_pairs(clips: int, count: int, draw: np.random.Generator) -> list[tuple[int, int]]:
    """Pairs of different clips out of so many."""
    pairs: list[tuple[int, int]] = []
    while len(pairs) < count and clips > 1:
        first, second = (int(i) for i in draw.choice(clips, size=2, replace=False))
        pairs.append((first, second))
    return pairs


def choose_pairs(
    sums: Tensor,  # (members, clips), each member's sum over each clip
    pairs: Sequence[tuple[int, int]],
    *,
    count: int,
    rule: Rule,
) -> list[tuple[int, int]]:
    """`count` of the pairs by the rule; the pairs come in random order, so the first ones are a random choice."""
    if rule == "random" or not pairs:
        return list(pairs[:count])
    first, second = (torch.tensor(side) for side in zip(*pairs, strict=True))
    variance = torch.sigmoid(sums[:, first] - sums[:, second]).var(dim=0, unbiased=False)
    ranked = [pairs[i] for i in variance.argsort(descending=True, stable=True).tolist()]
    if rule == "disagreement":
        return ranked[:count]
    chosen = ranked[: (count + 1) // 2]
    rest = [pair for pair in pairs if pair not in set(chosen)]
    return chosen + rest[: count - len(chosen)]
