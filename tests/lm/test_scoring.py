"""Log-probabilities by blocks are those of the whole logits; so are their gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from backflip.lm.scoring import BLOCK, token_scores


def by_hand(states: Tensor, weight: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The whole (scored, vocabulary) logits at once."""
    logprobs = (states @ weight.t() / temperature).log_softmax(-1)
    return logprobs.gather(-1, targets[:, None]).squeeze(-1), -(logprobs.exp() * logprobs).sum(-1)


def inputs(count: int, *, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(count)
    states, weight = torch.randn(count, 6, dtype=dtype), torch.randn(11, 6, dtype=dtype)
    return states.requires_grad_(), weight.requires_grad_(), torch.randint(11, (count,))


def test_two_tokens_by_hand() -> None:
    # logits (2, 0) / 2 = (1, 0): p = e/(e+1) = 0.73106; log p = -0.31326; entropy = -p ln p - q ln q = 0.58220
    scores = token_scores(torch.tensor([[2.0]]), torch.tensor([[1.0], [0.0]]), torch.tensor([0]), temperature=2.0)
    p = math.e / (math.e + 1)
    assert scores.logprobs.item() == pytest.approx(math.log(p), abs=1e-6)
    assert scores.entropy.item() == pytest.approx(-p * math.log(p) - (1 - p) * math.log(1 - p), abs=1e-6)


@pytest.mark.parametrize("count", [0, 1, BLOCK, 2 * BLOCK + 3])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_equals_log_softmax_of_all_logits(count: int, temperature: float) -> None:
    states, weight, targets = inputs(count)
    importance = torch.randn(count)
    scores = token_scores(states, weight, targets, temperature=temperature)
    ours = torch.autograd.grad((importance * scores.logprobs).sum(), (states, weight))
    logprobs, entropy = by_hand(states, weight, targets, temperature)
    theirs = torch.autograd.grad((importance * logprobs).sum(), (states, weight))
    torch.testing.assert_close(scores.logprobs, logprobs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scores.entropy, entropy, rtol=1e-5, atol=1e-5)
    for mine, slow in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, slow, rtol=1e-4, atol=1e-4)
    assert not scores.entropy.requires_grad


def test_gradcheck_in_double_precision() -> None:
    states, weight, targets = inputs(5, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda s, w: token_scores(s, w, targets, temperature=1.3).logprobs, (states, weight)
    )


def test_only_the_gradients_that_are_asked_for() -> None:
    states, weight, targets = inputs(4)
    frozen = weight.detach()
    token_scores(states, frozen, targets).logprobs.sum().backward()
    assert states.grad is not None
    token_scores(states.detach(), weight, targets).logprobs.sum().backward()
    assert weight.grad is not None
