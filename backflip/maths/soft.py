"""Soft actor-critic's formulas (arXiv 1801.01290 and 1812.05905), and the state entropy that explores before it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from backflip.maths.shapes import require_same_shape

__all__ = ["log_distances", "soft_targets", "squashed_logprobs", "temperature_loss"]


def squashed_logprobs(*, logprobs: Tensor, before: Tensor) -> Tensor:
    """`log p(u) - sum_i log(1 - tanh(u_i)^2)`, (batch,): of actions tanh(u), from those of u (1801.01290, eq. 21).

    `logprobs` are (batch,), `before` is u, (batch, n). The logarithm is `2 (log 2 - u - softplus(-2 u))`, which does
    not run out of digits where the tanh does.
    """
    require_same_shape(logprobs=logprobs, actions=before[:, 0])
    return logprobs - 2 * (math.log(2) - before - softplus(-2 * before)).sum(dim=-1)


def soft_targets(
    *,
    rewards: Tensor,  # (batch,)
    next_values: Tensor,  # (critics, batch), of an action drawn at the next observation
    next_logprobs: Tensor,  # (batch,), of that action
    gamma: float,
    alpha: Tensor,  # scalar
) -> Tensor:
    """`r + gamma (min Q'(s', a') - alpha log p(a' | s'))`, (batch,) (1812.05905, eq. 3 and 6). No episode ever ends.

    Raises DataError if the shapes differ.
    """
    least = next_values.amin(dim=0)
    require_same_shape(rewards=rewards, next_values=least, next_logprobs=next_logprobs)
    return rewards + gamma * (least - alpha * next_logprobs)


def temperature_loss(*, log_alpha: Tensor, logprobs: Tensor, entropy: float) -> Tensor:
    """`-alpha mean(log p + entropy)`, a scalar (1812.05905, eq. 18): alpha falls while the entropy is too high."""
    return -log_alpha.exp() * (logprobs.detach() + entropy).mean()


def log_distances(x: Tensor, among: Tensor, *, neighbour: int) -> Tensor:
    """`log |x - x_k|`, (batch,), where x_k is the k-th nearest of `among`, (others, n) (PEBBLE: arXiv 2106.05091, 4.1).

    Up to constants it is a particle estimate of the entropy of the states at x, (batch, n).
    """
    nearest = torch.cdist(x, among).topk(neighbour, dim=1, largest=False).values[:, -1]
    return nearest.clamp(min=1e-6).log()
