"""Optimiser, learning-rate schedules, gradient clipping and the weights' moving average, as the papers name them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from backflip.errors import TrainingDiverged

__all__ = ["EMA", "Schedule", "adam", "clip_gradients", "constant", "cosine", "linear_to_zero", "set_rate"]

Schedule = Callable[[int], float]  # update number, from 0 -> share of the learning rate


def adam(parameters: Sequence[nn.Parameter], *, rate: float, weight_decay: float = 0.0) -> torch.optim.AdamW:
    """Adam with beta1 0.9, beta2 0.95 (P) and eps 1e-5 (detail 12); fused, so that a step makes no copies."""
    return torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.95), eps=1e-5, weight_decay=weight_decay, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of every group."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def cosine(total: int, *, floor: float = 0.1) -> Schedule:
    """From 1 to `floor` over `total` updates, without warm-up (P: SFT and RM)."""
    return lambda update: floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(update / max(total, 1), 1.0)))


def constant(*, warmup: int = 10, start: float = 0.1) -> Schedule:
    """From `start` to 1 over `warmup` updates, then constant (P: PPO)."""
    return lambda update: min(1.0, start + (1 - start) * update / warmup) if warmup else 1.0


def linear_to_zero(total: int) -> Schedule:
    """From 1 to 0 over `total` updates (A, C)."""
    return lambda update: max(0.0, 1 - update / max(total, 1))


def clip_gradients(parameters: Sequence[nn.Parameter], limit: float, *, what: str = "gradient") -> float:
    """Scales the gradients to a norm of at most `limit` and returns the norm before.

    Raises TrainingDiverged where the norm is NaN or infinite: no step may be taken with it.
    """
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
    if not math.isfinite(norm):
        raise TrainingDiverged(
            f"the {what}'s norm is {norm}; wanted a finite number. The last checkpoint stands: lower the learning "
            "rate, or look at the batch before this step in metrics.jsonl"
        )
    return norm


class EMA:
    """An exponential moving average of parameters (P: 0.992 over PPO's updates)."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = list(parameters), decay
        self.shadow = [p.detach().clone() for p in self.parameters] if decay else []

    @torch.no_grad()
    def update(self) -> None:
        """After every optimiser step."""
        for mean, parameter in zip(self.shadow, self.parameters, strict=False):
            mean.lerp_(parameter, 1 - self.decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the parameters are their averages (nothing changes where the decay is 0)."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for mean, parameter in zip(self.shadow, self.parameters, strict=False):
            parameter.data, mean.data = mean.data, parameter.data

    def state(self) -> list[Tensor]:
        """For the checkpoint."""
        return self.shadow

    def load(self, state: list[Any]) -> None:
        """From a checkpoint."""
        for mean, saved in zip(self.shadow, state, strict=True):
            mean.copy_(saved)
