"""Soft actor-critic's formulas by hand, and against torch's own distributions."""

from __future__ import annotations

import math

import pytest
import torch

from backflip.errors import DataError
from backflip.maths.soft import log_distances, soft_targets, squashed_logprobs, temperature_loss


def test_squashed_log_probabilities_are_those_of_torch_distributions() -> None:
    draw = torch.Generator().manual_seed(0)
    mean, std = torch.randn(50, 3, generator=draw), torch.rand(50, 3, generator=draw) + 0.1
    before = mean + std * torch.randn(50, 3, generator=draw)
    plain = torch.distributions.Normal(mean, std)
    slow = torch.distributions.TransformedDistribution(
        plain, torch.distributions.transforms.TanhTransform(cache_size=1)
    )
    actions = slow.transforms[0](before)
    found = squashed_logprobs(logprobs=plain.log_prob(before).sum(dim=-1), before=before)
    torch.testing.assert_close(found, slow.log_prob(actions).sum(dim=-1))


def test_the_tanh_correction_by_hand_and_far_out() -> None:
    # log(1 - tanh(1)^2) = log(0.419974) = -0.867562; at u = 20 it is 2 (log 2 - 20), where the tanh is 1 in floats.
    found = squashed_logprobs(logprobs=torch.tensor([0.5, 0.0]), before=torch.tensor([[1.0], [20.0]]))
    torch.testing.assert_close(found, torch.tensor([0.5 + 0.867562, 40 - 2 * math.log(2)]))


def test_soft_targets_by_hand() -> None:
    found = soft_targets(
        rewards=torch.tensor([1.0, 0.0]),
        next_values=torch.tensor([[3.0, 1.0], [2.0, 5.0]]),
        next_logprobs=torch.tensor([-1.0, 2.0]),
        gamma=0.9,
        alpha=torch.tensor(0.5),
    )
    # 1 + 0.9 (2 + 0.5) = 3.25, and 0 + 0.9 (1 - 1) = 0
    torch.testing.assert_close(found, torch.tensor([3.25, 0.0]))
    with pytest.raises(DataError):
        soft_targets(
            rewards=torch.ones(2),
            next_values=torch.ones(2, 3),
            next_logprobs=torch.ones(3),
            gamma=0.9,
            alpha=torch.ones(()),
        )


@pytest.mark.parametrize(("logprob", "grad"), [(-5.0, 4.0), (-1.0, -4.0)])
def test_the_temperature_moves_towards_the_wanted_entropy(logprob: float, grad: float) -> None:
    # The entropy wanted is 3, alpha is 2: the gradient on log alpha is -alpha (log p + 3), so alpha falls at entropy 5
    # and rises at entropy 1.
    log_alpha = torch.tensor(math.log(2.0), requires_grad=True)
    temperature_loss(log_alpha=log_alpha, logprobs=torch.full((4,), logprob), entropy=3.0).backward()
    assert log_alpha.grad is not None
    assert float(log_alpha.grad) == pytest.approx(grad)


def test_distances_to_the_kth_neighbour() -> None:
    among = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
    found = log_distances(torch.tensor([[0.0, 0.0], [3.0, 0.0]]), among, neighbour=2)
    # From the origin 0, 2 and 5; from (3, 0) 3, 4 and sqrt(13) = 3.606.
    torch.testing.assert_close(found, torch.tensor([2.0, math.sqrt(13)]).log())
    same = log_distances(torch.zeros(1, 2), among, neighbour=1)
    assert float(same) == pytest.approx(math.log(1e-6))
