"""From scores and KL to rewards a token, and from rewards to advantages."""

from typing import NamedTuple

import torch
from torch import Tensor

from backflip.errors import DataError
from backflip.maths.shapes import require_right_padded, require_same_shape

__all__ = ["Advantages", "gae", "sequence_rewards"]


class Advantages(NamedTuple):
    """What GAE gives; both are 0 at padding."""

    advantages: Tensor  # (batch, response), not whitened
    returns: Tensor  # (batch, response), advantage + value: the value function's target


def gae(*, rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Advantages:
    """Generalised advantage estimation (arXiv 1506.02438, eq. 16; A), all tensors (batch, response).

    `delta_t = r_t + gamma * V_{t+1} - V_t` and `A_t = delta_t + gamma * lam * A_{t+1}`, backwards from the last valid
    token, after which the episode is over: V and A are 0 there.

    Raises DataError if the shapes differ or padding is not on the right.
    """
    require_same_shape(rewards=rewards, values=values, mask=mask)
    require_right_padded(mask)
    valid = mask.bool()
    rewards, values = torch.where(valid, rewards, 0.0), torch.where(valid, values, 0.0)
    next_values = torch.nn.functional.pad(values, (0, 1))[:, 1:]
    deltas = rewards + gamma * next_values - values  # exactly 0 at padding, so the recursion starts at the last token
    backwards: list[Tensor] = []
    advantage = torch.zeros_like(deltas[:, 0])
    for delta in reversed(deltas.unbind(dim=1)):
        advantage = delta + gamma * lam * advantage
        backwards.append(advantage)
    advantages = torch.stack(backwards[::-1], dim=1)
    return Advantages(advantages, advantages + values)


def sequence_rewards(*, kl: Tensor, scores: Tensor, mask: Tensor, beta: float) -> Tensor:
    """Reward of each token, (batch, response): `-beta * kl_t`, and the score added at the last valid token.

    `kl` and `mask` are (batch, response), `scores` (batch,); the result is 0 at padding. The last token is the EOS of a
    response that ended (A adds the score in the last column, C one after EOS; here it stands where the policy acted).

    Raises DataError if the shapes do not fit, padding is not on the right, or a response has no valid token.
    """
    require_same_shape(kl=kl, mask=mask)
    require_same_shape(scores=scores, sequences=mask[:, 0])
    require_right_padded(mask)
    valid = mask.bool()
    lengths = valid.sum(dim=1)
    if not bool(lengths.all()):
        row = int((lengths == 0).nonzero()[0])
        raise DataError(f"response {row} has no valid token to carry its score; wanted at least its EOS: mask it in")
    last = torch.arange(mask.shape[1], device=mask.device) == lengths[:, None] - 1
    return torch.where(valid, -beta * kl, 0.0) + torch.where(last, scores[:, None], 0.0)
