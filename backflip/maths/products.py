"""Matrix products through oneDNN on CPUs.

PyTorch sends float32 products to BLAS, which on many CPUs leaves half of the vector width unused; oneDNN's kernels,
which ship in the same wheel, do not. Where the operator is missing, or the tensor is not float32 on a CPU, the ordinary
path is taken; both are equal to float precision.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["leaky_matmul_t", "matmul_t", "onednn_serves"]


def onednn_serves(x: Tensor) -> bool:
    """Whether oneDNN multiplies such a tensor."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available()


def matmul_t(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias` for x (..., in), weight (out, in); no autograd of its own."""
    if x.numel() and onednn_serves(x):
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")  # noqa: SLF001
        return product
    return functional.linear(x, weight, bias)


def leaky_matmul_t(x: Tensor, weight: Tensor, bias: Tensor, *, slope: float) -> Tensor:
    """`leaky_relu(x @ weight.T + bias)` in one pass; no autograd of its own."""
    if x.numel() and onednn_serves(x):
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "leaky_relu", [slope], "")  # noqa: SLF001
        return product
    return functional.leaky_relu(functional.linear(x, weight, bias), slope)
