"""One reward a group on one trunk: heads fitted on the states of a trunk that stays as it is.

Group g's head is `w + d_g`, so that groups share what they agree on; `d_g` is free ("heads"), or `V e_g` with an
embedding of few numbers a group ("embedding"), for many groups with few answers each. A constant added to a group's
states would cancel in every pair: a group must turn the head, not shift it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from backflip.errors import DataError
from backflip.maths.preference import bradley_terry_loss

__all__ = ["GroupHeads", "Kind", "PairsOfGroups", "alone", "combined", "fit_heads", "pooled"]

Kind = Literal["pooled", "heads", "embedding"]
_STEPS = 100


class PairsOfGroups(NamedTuple):
    """Pairs of candidates, by place, and the number of the group that each verdict comes from."""

    better: Tensor  # (pairs,)
    worse: Tensor  # (pairs,)
    group: Tensor  # (pairs,)
    weight: Tensor  # (pairs,)
    target: Tensor  # (pairs,), 1 or 0.5

    def where(self, keep: Tensor) -> PairsOfGroups:
        return PairsOfGroups(*(column[keep] for column in self))


@dataclass(frozen=True)
class GroupHeads:
    """`weight` (groups, hidden) and `offset` (groups,): group g scores a state h as `weight[g] . h - offset[g]`."""

    weight: Tensor
    offset: Tensor

    def scores(self, states: Tensor) -> Tensor:
        """(candidates, hidden) -> (candidates, groups)."""
        return states @ self.weight.T - self.offset

    def standardised(self, states: Tensor) -> GroupHeads:
        """The same order, with mean 0 and deviation 1 over these candidates: so that groups can be set side by side."""
        raw = states @ self.weight.T
        scale = raw.std(dim=0, correction=0).clamp_min(1e-6)
        return GroupHeads(self.weight / scale[:, None], raw.mean(dim=0) / scale)


def pooled(pairs: PairsOfGroups) -> PairsOfGroups:
    """The same verdicts as if one group had given them all."""
    return pairs._replace(group=torch.zeros_like(pairs.group))


def fit_heads(
    states: Tensor,  # (candidates, hidden)
    pairs: PairsOfGroups,
    *,
    groups: int,
    kind: Kind,
    rank: int = 4,
    ridge: float = 1e-2,
    own: float = 1e-1,
    seed: int = 0,
) -> GroupHeads:
    """Heads of least K-wise loss plus `ridge |w|^2 + own mean_g |d_g|^2`, by L-BFGS on states of deviation 1.

    "pooled" has one head for all. Deterministic; `seed` draws an embedding's start. Raises DataError without a pair.
    """
    if not len(pairs.better):
        raise DataError("there is no pair to fit heads on; wanted answers that prefer something")
    scale = states.std(dim=0, correction=0).clamp_min(1e-6)
    scaled = (states / scale).double()
    hidden = states.shape[1]
    generator = torch.Generator().manual_seed(seed)
    shared = torch.zeros(hidden, dtype=torch.float64, requires_grad=True)
    parts = [shared]
    if kind == "heads":
        parts.append(torch.zeros(groups, hidden, dtype=torch.float64, requires_grad=True))
    elif kind == "embedding":
        for shape in ((groups, rank), (rank, hidden)):
            start = torch.randn(*shape, generator=generator, dtype=torch.float64) * 0.1
            parts.append(start.requires_grad_())

    def heads() -> tuple[Tensor, Tensor]:
        own_part = torch.zeros(groups, hidden, dtype=torch.float64)
        if kind != "pooled":
            own_part = parts[1] if kind == "heads" else parts[1] @ parts[2]
        return shared + own_part, own_part

    apart = scaled[pairs.better] - scaled[pairs.worse]
    weights, nothing = pairs.weight.double() / pairs.weight.sum(), torch.zeros(len(apart), dtype=torch.float64)
    optimiser = torch.optim.LBFGS(parts, max_iter=_STEPS, line_search_fn="strong_wolfe", tolerance_grad=1e-7)

    def closure() -> Tensor:
        optimiser.zero_grad()
        weight, own_part = heads()
        margin = (apart * weight[pairs.group]).sum(dim=1)
        fit = bradley_terry_loss(better=margin, worse=nothing, weight=weights, target=pairs.target.double())
        loss = fit + ridge * shared.pow(2).sum() + own * own_part.pow(2).sum() / groups
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        weight = (heads()[0] / scale).float()
    return GroupHeads(weight, torch.zeros(groups))


def alone(pairs: PairsOfGroups, group: int) -> PairsOfGroups:
    """One group's verdicts, as if it were the only one."""
    return pooled(pairs.where(pairs.group == group))


def combined(scores: Tensor, rule: str, weights: Sequence[float] | None = None) -> Tensor:
    """(candidates, groups) standardised scores -> one: their mean, their worst, or a weighted mean."""
    if rule == "worst":
        return scores.min(dim=1).values
    share = torch.ones(scores.shape[1]) if weights is None else torch.tensor(list(weights))
    return scores @ (share / share.sum()).to(scores)
