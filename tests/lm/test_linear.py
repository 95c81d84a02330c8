"""FastLinear is nn.Linear: same numbers, same gradients, same parameters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from backflip.lm.linear import FastLinear, accelerate, matmul_t

SHAPES = [(5, 7), (2, 3, 7), (0, 7), (1, 7)]


def gradients(linear: nn.Linear, x: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    """Output, and the gradient of a random weighting of it to the input, weight and bias."""
    x = x.clone().requires_grad_()
    linear.zero_grad()
    y = linear(x)
    (y * weights).sum().backward()
    found = [y.detach(), x.grad, linear.weight.grad, *([linear.bias.grad] if linear.bias is not None else [])]
    assert all(g is not None for g in found)
    return tuple(found)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_forward_and_backward_equal_nn_linear(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(7, 4, bias=bias)
    fast = FastLinear.sharing(plain)
    x, weights = torch.randn(shape), torch.randn(*shape[:-1], 4)
    for ours, theirs in zip(gradients(fast, x, weights), gradients(plain, x, weights), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_without_gradients_and_in_double_precision() -> None:
    torch.manual_seed(1)
    plain = nn.Linear(7, 4)
    fast = FastLinear.sharing(plain)
    x = torch.randn(6, 7)
    with torch.no_grad():
        torch.testing.assert_close(fast(x), plain(x), rtol=1e-5, atol=1e-6)
        double = FastLinear.sharing(plain.double())
        assert torch.equal(double(x.double()), plain(x.double()))  # the ordinary path, to the bit


def test_transposed_operands() -> None:
    # what the backward passes give it: neither operand is contiguous
    torch.manual_seed(2)
    x, weight = torch.randn(7, 5).t(), torch.randn(7, 3).t()
    torch.testing.assert_close(matmul_t(x, weight), x @ weight.t(), rtol=1e-5, atol=1e-6)


def test_frozen_weight_gets_no_gradient_and_input_does() -> None:
    fast = FastLinear.sharing(nn.Linear(3, 2).requires_grad_(False))
    x = torch.randn(4, 3, requires_grad=True)
    fast(x).sum().backward()
    assert fast.weight.grad is None
    assert x.grad is not None
    torch.testing.assert_close(x.grad, fast.weight.sum(0).expand(4, 3))


def test_accelerate_shares_parameters_and_keeps_names() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 2)))
    before = dict(module.named_parameters())
    accelerate(module)
    after = dict(module.named_parameters())
    assert [type(m) for m in module.modules() if isinstance(m, nn.Linear)] == [FastLinear, FastLinear]
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)
