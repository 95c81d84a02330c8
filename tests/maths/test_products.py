"""Products through oneDNN are the products that torch makes, with the leaky ReLU in the same pass."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import leaky_relu, linear

from backflip.maths.products import leaky_matmul_t, matmul_t


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_products_equal_torchs(dtype: torch.dtype, rows: int) -> None:
    draw = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=draw, dtype=dtype) for shape in ((rows, 7), (3, 7), (3,)))
    plain = linear(x, weight, bias)
    torch.testing.assert_close(matmul_t(x, weight, bias), plain)
    torch.testing.assert_close(matmul_t(x, weight), x @ weight.t())
    torch.testing.assert_close(leaky_matmul_t(x, weight, bias, slope=0.01), leaky_relu(plain, 0.01))
