"""Bradley-Terry: what a comparison says about two scores, and how well scores explain comparisons.

A pair holds the score of the candidate that was preferred (`better`) and of the other (`worse`). `target` is 1 for a
preference and 0.5 for a tie; `lapse` is the share of answers given without looking (H: 0.1).
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from backflip.errors import ConfigError, DataError
from backflip.maths.shapes import require_same_shape

__all__ = [
    "bradley_terry_loss",
    "pair_accuracy",
    "pair_weights",
    "preference_probability",
    "ranking_loss",
]


def preference_probability(*, better: Tensor, worse: Tensor, lapse: float = 0.0) -> Tensor:
    """`(1 - lapse) * sigmoid(better - worse) + lapse / 2`, elementwise (H, section 2.2.3; P, 3.5, with lapse 0).

    Raises DataError if the shapes differ, ConfigError if the lapse is outside [0, 1).
    """
    require_same_shape(better=better, worse=worse)
    if not 0 <= lapse < 1:
        raise ConfigError(f"lapse is {lapse}; wanted the share of answers that are noise, in [0, 1), such as 0.1")
    return (1 - lapse) * torch.sigmoid(better - worse) + lapse / 2


def _log_probability(*, better: Tensor, worse: Tensor, lapse: float) -> Tensor:
    if lapse == 0:
        return logsigmoid(better - worse)  # the probability itself underflows
    return preference_probability(better=better, worse=worse, lapse=lapse).log()  # which is at least lapse / 2


def bradley_terry_loss(
    *,
    better: Tensor,  # (pairs,)
    worse: Tensor,  # (pairs,)
    target: Tensor | None = None,  # (pairs,), 1 or 0.5; all 1 by default
    weight: Tensor | None = None,  # (pairs,)
    lapse: float = 0.0,
) -> Tensor:
    """Cross-entropy of the preferences, a scalar (H, section 2.2.3): the mean over pairs, or their weighted *sum*.

    Weights are taken as they are (`pair_weights` makes them sum to a mean over questions), so that the losses of
    micro-batches add up.

    Raises DataError if the shapes differ or there is no pair to take the mean of, ConfigError if the lapse is
    outside [0, 1).
    """
    require_same_shape(better=better, worse=worse, target=target, weight=weight)
    loss = -_log_probability(better=better, worse=worse, lapse=lapse)
    if target is not None:
        other_way = -_log_probability(better=worse, worse=better, lapse=lapse)
        loss = target * loss + (1 - target) * other_way
    if weight is not None:
        return (weight * loss).sum()
    if not loss.numel():
        raise DataError("there is no pair to take a mean over; wanted at least one: drop questions that are all ties")
    return loss.mean()


def pair_weights(
    *,
    question: Tensor,  # (pairs,), each pair's index into `candidates`
    candidates: Tensor,  # (questions,), K of each question
    total: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Weight of each pair, (pairs,): `1 / C(K, 2)` of its question over the number of questions (P, eq. 1).

    Every question so weighs the same, whatever its K. The weight does not depend on how many of a question's pairs are
    there: where ties are dropped, the remaining pairs keep `1 / C(K, 2)`, as in P, and a question with many ties
    weighs less. `total` is the number of questions of the whole batch, where this is a micro-batch of it.

    Raises DataError if a question has fewer than two candidates.
    """
    if bool((candidates < 2).any()):
        raise DataError(f"a question has {int(candidates.min())} candidates; wanted 2 or more: one alone makes no pair")
    pairs = (candidates * (candidates - 1)).to(dtype) / 2
    return 1 / (pairs * (len(candidates) if total is None else total))[question]


def ranking_loss(
    *,
    scores: Tensor,  # (candidates,), of all the batch's questions in one row: each was scored once
    better: Tensor,  # (pairs,), index into scores
    worse: Tensor,  # (pairs,), index into scores
    weight: Tensor,  # (pairs,), from pair_weights
    target: Tensor | None = None,  # (pairs,), 1 or 0.5; all 1 by default
    lapse: float = 0.0,
) -> Tensor:
    """The K-wise loss, a scalar: the mean over questions of `-1/C(K,2) * sum log sigmoid(r_w - r_l)` (P, eq. 1).

    P drops ties: leave their pairs out. To keep one, give it target 0.5. Without pairs the loss is 0.

    Raises as `bradley_terry_loss`.
    """
    return bradley_terry_loss(better=scores[better], worse=scores[worse], target=target, weight=weight, lapse=lapse)


def pair_accuracy(
    *,
    better: Tensor,  # (pairs,)
    worse: Tensor,  # (pairs,)
    target: Tensor | None = None,  # (pairs,)
    weight: Tensor | None = None,  # (pairs,)
) -> Tensor:
    """Share of the pairs whose better candidate has the higher score, a scalar; equal scores are half right.

    Ties (target 0.5) have no right answer and do not count; NaN if nothing else is there. `weight` weighs the mean.

    Raises DataError if the shapes differ.
    """
    require_same_shape(better=better, worse=worse, target=target, weight=weight)
    right = 0.5 * (1 + torch.sign(better - worse))
    share = torch.ones_like(right) if weight is None else weight
    if target is not None:
        share = share * (target != 0.5)
    return (share * right).sum() / share.sum()
