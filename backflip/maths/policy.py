"""PPO's two losses and what is watched beside them. Padding enters no sum."""

from typing import NamedTuple

import torch
from torch import Tensor

from backflip.maths.moments import masked_sum, masked_var
from backflip.maths.shapes import require_same_shape

__all__ = [
    "PolicyLoss",
    "ValueLoss",
    "entropy_",
    "entropy_from_logits",
    "explained_variance",
    "policy_loss",
    "value_loss",
]


class PolicyLoss(NamedTuple):
    """Scalars, each a sum over valid tokens divided by `total`; all but the loss are detached."""

    loss: Tensor
    clip_fraction: Tensor  # share of tokens whose clipped term was the greater
    approx_kl: Tensor  # 0.5 * mean((log p - log p_old)^2)
    ratio_mean: Tensor


class ValueLoss(NamedTuple):
    """Scalars, each a sum over valid tokens divided by `total`; the clip fraction is detached."""

    loss: Tensor
    clip_fraction: Tensor  # share of tokens whose clipped term was the greater


def policy_loss(
    *,
    logprobs: Tensor,  # (batch, response), of the policy being trained
    old_logprobs: Tensor,  # (batch, response), of the policy that sampled
    advantages: Tensor,  # (batch, response)
    mask: Tensor,  # (batch, response)
    clip: float,
    total: float | Tensor | None = None,
) -> PolicyLoss:
    """PPO's clipped surrogate, `max(-A * ratio, -A * clip(ratio, 1 - clip, 1 + clip))` (arXiv 1707.06347, eq. 7; A).

    `total` is the number of valid tokens of the whole minibatch: with it the losses (and statistics) of its
    micro-batches add up to the minibatch's mean. By default it is this mask's own, and NaN comes of an empty one.
    An infinite `clip` switches clipping off.

    Raises DataError if the shapes differ.
    """
    require_same_shape(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages, mask=mask)
    valid = mask.bool()
    log_ratio = torch.where(valid, logprobs - old_logprobs, 0.0)  # before exp, whose gradient may overflow at padding
    ratio = log_ratio.exp()
    plain, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    count = valid.sum() if total is None else total
    return PolicyLoss(
        loss=masked_sum(torch.maximum(plain, clipped), valid) / count,
        clip_fraction=masked_sum((clipped > plain).to(ratio.dtype), valid) / count,
        approx_kl=(0.5 * masked_sum(log_ratio.square(), valid) / count).detach(),
        ratio_mean=(masked_sum(ratio, valid) / count).detach(),
    )


def value_loss(
    *,
    values: Tensor,  # (batch, response), of the value function being trained
    old_values: Tensor,  # (batch, response), as of sampling
    returns: Tensor,  # (batch, response)
    mask: Tensor,  # (batch, response)
    clip: float,
    total: float | Tensor | None = None,
) -> ValueLoss:
    """`0.5 * max((V - R)^2, (clip(V, V_old - clip, V_old + clip) - R)^2)` (A).

    `total`, an infinite `clip` and errors as in `policy_loss`.
    """
    require_same_shape(values=values, old_values=old_values, returns=returns, mask=mask)
    valid = mask.bool()
    near = torch.clamp(values, old_values - clip, old_values + clip)
    plain, clipped = (torch.where(valid, v - returns, 0.0).square() for v in (values, near))
    count = valid.sum() if total is None else total
    return ValueLoss(
        loss=0.5 * masked_sum(torch.maximum(plain, clipped), valid) / count,
        clip_fraction=masked_sum((clipped > plain).to(values.dtype), valid) / count,
    )


def entropy_(*, logprobs: Tensor, probabilities: Tensor) -> Tensor:  # (..., vocabulary) each -> (...)
    """Entropy in nats of a distribution over the last dimension; -inf is a token that cannot be sampled.

    `logprobs` are overwritten: no further tensor of the vocabulary's size is made.
    """
    floor = torch.finfo(logprobs.dtype).min  # for 0 times -inf is no number
    return -logprobs.clamp_(min=floor).mul_(probabilities).sum(dim=-1)


def entropy_from_logits(logits: Tensor) -> Tensor:  # (..., vocabulary) -> (...)
    """`entropy_` of the softmax over the last dimension, with a gradient, and nothing overwritten."""
    logprobs = logits.log_softmax(dim=-1)
    return entropy_(logprobs=logprobs.clone(), probabilities=logprobs.exp())


def explained_variance(*, values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """`1 - var(R - V) / var(R)` over the valid tokens of (batch, response): 1 is perfect, 0 no better than a constant.

    NaN or -inf where all returns are equal. Raises DataError if the shapes differ.
    """
    require_same_shape(values=values, returns=returns, mask=mask)
    return 1 - masked_var(returns - values, mask) / masked_var(returns, mask)
