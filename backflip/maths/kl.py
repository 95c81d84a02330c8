"""KL to the reference policy: its estimators, the controller of its coefficient, and the bound for best-of-n."""

import math

import torch
from torch import Tensor

from backflip.errors import ConfigError, TrainingDiverged
from backflip.maths.moments import masked_sum
from backflip.maths.shapes import require_same_shape

__all__ = ["adapt_beta", "best_of_n_kl_bound", "k1", "k3", "sequence_kl"]


def k1(*, logprobs: Tensor, reference: Tensor) -> Tensor:
    """`log p - log p_ref` of the sampled tokens, in nats: unbiased, of either sign (A; the penalty in the reward).

    Both and the result are of one shape, (batch, response). Raises DataError if the shapes differ.
    """
    require_same_shape(logprobs=logprobs, reference=reference)
    return logprobs - reference


def k3(*, logprobs: Tensor, reference: Tensor) -> Tensor:
    """`p_ref / p - 1 - log(p_ref / p)` of the sampled tokens: unbiased, never negative (Schulman, "Approximating KL").

    Shapes and errors as in `k1`.
    """
    log_ratio = -k1(logprobs=logprobs, reference=reference)
    return torch.expm1(log_ratio) - log_ratio


def sequence_kl(*, kl: Tensor, mask: Tensor) -> Tensor:  # (batch, response) each -> (batch,)
    """Each sequence's KL in nats: the sum over its valid tokens. Its mean over episodes is `objective/kl` (A)."""
    return masked_sum(kl, mask, dim=-1)


def adapt_beta(*, beta: float, kl: float, target: float, episodes: int, horizon: int = 10_000) -> float:
    """The KL coefficient after an update on `episodes` sequences whose mean sequence KL was `kl` nats (A).

    `beta * (1 + clip(kl / target - 1, -0.2, 0.2) * episodes / horizon)`.

    Raises ConfigError if the target is not positive or one update could bring beta to 0 or below, TrainingDiverged if
    `kl` is not finite.
    """
    if target <= 0:
        raise ConfigError(f"the KL target is {target}; wanted nats a sequence above 0, or a fixed beta")
    if episodes >= 5 * horizon:
        raise ConfigError(
            f"{episodes} episodes an update with a KL horizon of {horizon} could make beta negative; "
            f"wanted a horizon above {episodes // 5}"
        )
    if not math.isfinite(kl):
        raise TrainingDiverged(
            f"the KL to the reference is {kl}; wanted a finite number: go on from the last checkpoint"
        )
    error = min(max(kl / target - 1, -0.2), 0.2)
    return beta * (1 + error * episodes / horizon)


def best_of_n_kl_bound(n: int) -> float:
    """`log n - (n - 1) / n`: at most so many nats lie between best-of-n and its base policy (arXiv 2401.01879).

    Raises ConfigError if n < 1.
    """
    if n < 1:
        raise ConfigError(f"best of n has n = {n}; wanted 1 or more")
    return math.log(n) - (n - 1) / n
