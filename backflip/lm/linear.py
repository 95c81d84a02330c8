"""A linear layer whose three matrix products go through oneDNN on CPUs.

On one AVX-512 machine this is about twice as fast as BLAS, forward and backward (`maths/products.py` says why). Where
oneDNN does not serve, the ordinary path is taken; both are equal to float precision (tests/lm/test_linear.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from backflip.maths.products import matmul_t, onednn_serves

__all__ = ["FastLinear", "accelerate", "linear", "matmul_t"]


class _Linear(torch.autograd.Function):
    """y = x W^T + b with all of forward, dx and dW through `matmul_t`; skips the gradients that nobody asks for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x if weight.requires_grad else None, weight)
        return matmul_t(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        rows = grad.reshape(-1, grad.shape[-1])
        grad_x = matmul_t(grad, weight.t()) if needs_x else None
        grad_weight = matmul_t(rows.t(), x.reshape(-1, x.shape[-1]).t()) if needs_weight else None
        return grad_x, grad_weight, rows.sum(0) if needs_bias else None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`functional.linear`, forward and backward through oneDNN where that serves."""
    if not torch.is_grad_enabled() or not onednn_serves(x):
        return matmul_t(x, weight, bias)
    product: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return product


class FastLinear(nn.Linear):
    """`nn.Linear` with the same parameters and names, through oneDNN where that serves."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the name is nn.Linear's)
        return linear(input, self.weight, self.bias)

    @classmethod
    def sharing(cls, linear: nn.Linear) -> FastLinear:
        """A FastLinear with the very parameters of `linear` (nothing is copied)."""
        fast = cls(1, 1, bias=linear.bias is not None, device="meta")
        fast.in_features, fast.out_features = linear.in_features, linear.out_features
        fast.weight, fast.bias = linear.weight, linear.bias
        return fast.train(linear.training)


def accelerate(module: nn.Module) -> None:
    """Replaces every `nn.Linear` below `module` by a `FastLinear` that shares its parameters."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, FastLinear.sharing(child))
