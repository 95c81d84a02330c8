"""Log-probabilities of given tokens from hidden states, a block of tokens at a time.

The logits of a block are made, used and dropped: memory is (block, vocabulary), never (batch, length, vocabulary).
A log-probability depends on its own hidden state alone, so the gradient to the states is computed in the forward
pass, while the block's probabilities are at hand, and only scaled in the backward pass.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from backflip.lm.linear import matmul_t
from backflip.maths.policy import entropy_

__all__ = ["BLOCK", "Scores", "token_scores"]

BLOCK = 256  # tokens; 256 x 49,152 float32 logits are 50 MB


class Scores(NamedTuple):
    """`logprobs` carries gradients; `entropy` (nats, of the next-token distribution) does not."""

    logprobs: Tensor  # (scored,)
    entropy: Tensor  # (scored,)


class _TokenScores(torch.autograd.Function):
    """log softmax(h W^T / T)[target], with d/dh = (W[target] - softmax @ W) / T; and the entropy, without gradient."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        logprobs, entropy = states.new_empty(len(states)), states.new_empty(len(states))
        slopes = torch.empty_like(states) if states.requires_grad else None
        for start in range(0, len(states), BLOCK):
            block = slice(start, start + BLOCK)
            logits = matmul_t(states[block], weight).div_(temperature)
            logits -= logits.logsumexp(-1, keepdim=True)
            logprobs[block] = logits.gather(-1, targets[block, None]).squeeze(-1)
            probabilities = logits.exp()
            entropy[block] = entropy_(logprobs=logits, probabilities=probabilities)
            if slopes is not None:
                slopes[block] = (weight[targets[block]] - matmul_t(probabilities, weight.t())) / temperature
        ctx.save_for_backward(slopes, states if weight.requires_grad else None, weight, targets)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad = grads[0]
        slopes, states, weight, targets = ctx.saved_tensors
        grad_states = grad[:, None] * slopes if slopes is not None else None
        grad_weight = (
            _weight_gradient(grad, states, weight, targets, ctx.temperature) if ctx.needs_input_grad[1] else None
        )
        return grad_states, grad_weight, None, None


def _weight_gradient(grad: Tensor, states: Tensor, weight: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Sum over tokens of grad * (onehot - softmax) h^T / T: the blocks' logits are made once more."""
    total = torch.zeros_like(weight)
    for start in range(0, len(states), BLOCK):
        block = slice(start, start + BLOCK)
        scaled = matmul_t(states[block], weight).div_(temperature).softmax(-1).mul_(-grad[block, None])
        scaled.scatter_add_(1, targets[block, None], grad[block, None])
        total += matmul_t(scaled.t(), states[block].t())
    return total.div_(temperature)


def token_scores(
    states: Tensor,  # (scored, hidden)
    weight: Tensor,  # (vocabulary, hidden)
    targets: Tensor,  # (scored,)
    *,
    temperature: float = 1.0,
) -> Scores:
    """Log-probability of each target under the temperature at which it is or was sampled (detail 9)."""
    return Scores(*_TokenScores.apply(states, weight, targets, temperature))  # type: ignore[no-untyped-call]
