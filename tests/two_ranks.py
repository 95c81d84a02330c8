"""Two real gloo processes for a test, in the surroundings that torchrun makes; both run a function of its file."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
import torch.multiprocessing as mp

from backflip.runs.ranks import leave, world

__all__ = ["two_ranks"]


def two_ranks(file: str, function: str, folder: Path, *, timeout: float = 200) -> None:
    """Calls `function(rank, folder)` of the test's `file` on both ranks, and fails with what they say."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    done = subprocess.run(
        [sys.executable, __file__, file, function, str(folder), port],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr


def _rank(rank: int, file: str, function: str, folder: str, port: str) -> None:
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    torch.set_num_threads(1)
    getattr(importlib.import_module(Path(file).stem), function)(rank, Path(folder))
    leave(world())


if __name__ == "__main__":  # torch is imported once and forked, which is much faster than two spawned imports
    sys.path.insert(0, str(Path(sys.argv[1]).parent))
    mp.start_processes(_rank, args=tuple(sys.argv[1:]), nprocs=2, start_method="fork")
