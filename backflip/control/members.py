"""The nets of an ensemble, side by side: few rows go through one batched product a layer, many member by member."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from backflip.maths.products import leaky_matmul_t, matmul_t

__all__ = ["ConvolutionalMembers", "DenseMembers"]

SLOPE: Final = 0.01  # of the leaky ReLU (H)
MANY: Final = 1000  # rows from which one member after the other through oneDNN is faster than one batched product


class _Linear(nn.Module):
    """A dense layer of every member: (members, batch, inputs) -> (members, batch, outputs)."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class _Member(torch.autograd.Function):
    """One member's net, forward and backward: as few passes over its large tensors as there can be.

    Weights are (inputs, outputs) and biases (1, outputs), as a member's share of the batched ones is.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:  # (batch, inputs) -> (batch,)
        w1, b1, w2, b2, w3, b3 = parameters
        first = leaky_matmul_t(x, w1.t(), b1[0], slope=SLOPE)
        second = leaky_matmul_t(first, w2.t(), b2[0], slope=SLOPE)
        ctx.save_for_backward(x, first, second, w1, w2, w3)
        return torch.addmv(b3[0], second, w3[:, 0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, first, second, w1, w2, w3 = ctx.saved_tensors
        of_second = _through(torch.outer(grad, w3[:, 0]), second)
        of_first = _through(matmul_t(of_second, w2), first)
        return (
            matmul_t(of_first, w1) if ctx.needs_input_grad[0] else None,
            matmul_t(x.t(), of_first.t()),
            of_first.sum(dim=0, keepdim=True),
            matmul_t(first.t(), of_second.t()),
            of_second.sum(dim=0, keepdim=True),
            torch.mv(second.t(), grad)[:, None],
            grad.sum().view(1, 1),
        )


def _through(grad: Tensor, out: Tensor) -> Tensor:
    """A gradient through the leaky ReLU that gave `out`, in place."""
    return torch.ops.aten.leaky_relu_backward.grad_input(grad, out, SLOPE, True, grad_input=grad)  # type: ignore[no-any-return]


class DenseMembers(nn.Module):
    """Two hidden layers of 64 with leaky ReLU, and a scalar (H, MuJoCo)."""

    def __init__(self, members: int, inputs: int, hidden: int) -> None:
        super().__init__()
        self.members = members
        self.layers = nn.ModuleList(
            [_Linear(members, inputs, hidden), _Linear(members, hidden, hidden), _Linear(members, hidden, 1)]
        )

    def member(self, number: int, x: Tensor) -> Tensor:  # (batch, inputs) -> (batch,)
        """What one member says."""
        parameters = [p[number] for layer in self.layers for p in (layer.weight, layer.bias)]  # type: ignore[index]
        out: Tensor = _Member.apply(x, *parameters)  # type: ignore[no-untyped-call]
        return out

    def forward(self, x: Tensor) -> Tensor:  # (batch, inputs) -> (members, batch)
        if len(x) >= MANY:
            return torch.stack([self.member(number, x) for number in range(self.members)])
        return self.batched(x)

    def batched(self, x: Tensor) -> Tensor:  # (batch, inputs) -> (members, batch)
        """The same, as one product a layer for all members."""
        x = x.expand(self.members, *x.shape)
        for layer in self.layers[:-1]:
            x = leaky_relu(layer(x), SLOPE)
        out: Tensor = self.layers[-1](x).squeeze(-1)
        return out

    def member_weights(self) -> Iterator[Tensor]:
        """What L2 falls on, members first."""
        for layer in self.layers:
            yield layer.weight  # type: ignore[misc]


class ConvolutionalMembers(nn.Module):
    """Convolutions 7, 5, 3, 3 of 16 filters, batch norm and dropout, 64 dense units, and a scalar (H, Atari).

    Each member is a group of the convolutions, so that all are one call. The action is read by the last layers.
    """

    def __init__(self, members: int, shape: tuple[int, ...], actions: int, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.members, widths = members, 16 * members
        sizes, strides = (7, 5, 3, 3), (3, 2, 1, 1)
        inputs = [shape[0] * members, widths, widths, widths]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, widths, size, stride, groups=members)
            for i, size, stride in zip(inputs, sizes, strides, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(widths) for _ in sizes)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            side = shape[1:]
            for size, stride in zip(sizes, strides, strict=True):
                side = tuple((n - size) // stride + 1 for n in side)
        self.dense = _Linear(members, 16 * math.prod(side) + actions, 64)
        self.last = _Linear(members, 64, 1)

    def forward(self, pictures: Tensor, actions: Tensor) -> Tensor:  # -> (members, batch)
        x = (pictures.float() / 255).repeat(1, self.members, 1, 1)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = self.dropout(leaky_relu(norm(convolution(x)), SLOPE))
        flat = x.view(len(x), self.members, -1).transpose(0, 1)
        acted = actions.expand(self.members, *actions.shape)
        hidden = leaky_relu(self.dense(torch.cat([flat, acted], dim=-1)), SLOPE)
        out: Tensor = self.last(hidden).squeeze(-1)
        return out

    def member_weights(self) -> Iterator[Tensor]:
        """What L2 falls on, members first."""
        for convolution in self.convolutions:
            yield convolution.weight.view(self.members, -1)  # type: ignore[operator]
        yield self.dense.weight
        yield self.last.weight
