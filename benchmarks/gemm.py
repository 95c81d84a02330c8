"""How fast this machine multiplies float32 matrices: through oneDNN, as Backflip's layers do, and through BLAS.

python benchmarks/gemm.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.nn import functional

from backflip.lm.linear import matmul_t

__all__ = ["main", "rate"]


def rate(product: Callable[[], object], operations: float, *, seconds: float = 2.0) -> float:
    """GFLOP/s of the fastest of the products that fit into `seconds`."""
    product()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - start)
    return operations / best / 1e9


def main() -> None:
    """The shapes of SmolLM2-135M's widest layer at 32 rows (sampling) and 600 (training), and a large square."""
    print(f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    for rows, width, out in ((32, 576, 1536), (600, 576, 1536), (2048, 2048, 2048)):
        x, weight = torch.randn(rows, width), torch.randn(out, width)
        operations = 2.0 * rows * width * out
        ours = rate(lambda x=x, weight=weight: matmul_t(x, weight), operations)  # type: ignore[misc]
        blas = rate(lambda x=x, weight=weight: functional.linear(x, weight), operations)  # type: ignore[misc]
        print(f"{rows} x {width} by {width} x {out}: oneDNN {ours:.0f} GFLOP/s, BLAS {blas:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
