"""Two gloo processes give the numbers that one gives, up to float error, and write one run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from ppo_kit import Kit, make_kit, steady
from safetensors.torch import load_file

from backflip.recipes import ppo
from backflip.recipes.ppo import KL, Adapter, Config, Judge, Ptx, Rates, Scores
from backflip.runs.metrics import read_metrics
from backflip.runs.ranks import leave, world

MIXED = Adapter(
    rank=4, layers=1, value_rank=0, alpha=8.0
)  # a LoRA policy, whose draws are shared; all of the value net


def config(kit: Kit, folder: Path) -> Config:
    """Everything that could depend on the number of ranks: prompts that do not divide, means, beta, text, judge."""
    return kit.config(
        folder=folder,
        updates=4,
        adapter=MIXED,
        batch=12,
        minibatch=6,  # three prompts: two for one rank, one for the other
        inner_epochs=2,
        scores=Scores(normalise=True, whiten=True),
        kl=KL(beta=0.2, target=0.5, horizon=60),
        ptx=Ptx(text=(kit.text,), examples=1, length=9),
        judge=Judge(spec=(("python:ppo_kit:count_e", 1.0),), every=2),
        rates=Rates(policy=1e-2, value=2e-3),
    )


def _rank(rank: int, port: int, root: str) -> None:
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    folder = Path(root)
    kit = Kit(folder, folder / "tiny", str(folder / "feedback.db"), folder / "prose.txt")
    chosen = config(kit, folder / "two")
    with suppress(KeyboardInterrupt):
        ppo.run(chosen, after_update=_stop)
    result = ppo.run(chosen)
    again = ppo.run(chosen)  # rank 1 learns from rank 0 that it is done
    (folder / f"result-{rank}").write_text(f"{result == again} {result}")
    leave(world())


def _stop(trainer: ppo.Trainer) -> None:
    """On both ranks after the third update: the last checkpoint is of the second."""
    if trainer.update == 3:
        raise KeyboardInterrupt


def test_two_ranks_are_as_one(tmp_path: Path) -> None:
    kit = make_kit(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = subprocess.run(
        [sys.executable, __file__, str(port), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    alone = ppo.run(config(kit, tmp_path / "one"))
    results = [(tmp_path / f"result-{rank}").read_text() for rank in (0, 1)]
    assert results[0] == results[1]
    assert results[0].startswith("True")
    one, two = (read_metrics(tmp_path / count) for count in ("one", "two"))
    assert len(one) == len(two) == 5  # the start's judging, and four updates
    for ours, theirs in zip(one, two, strict=True):
        assert steady(theirs) == pytest.approx(steady(ours), rel=1e-3, abs=1e-4)
    saved = load_file(tmp_path / "two" / "model" / "model.safetensors")
    for key, value in load_file(Path(alone.model) / "model.safetensors").items():
        torch.testing.assert_close(saved[key], value, rtol=0, atol=2e-5)


if __name__ == "__main__":  # torch is imported once and forked, which is much faster than two spawned imports
    mp.start_processes(_rank, args=(int(sys.argv[1]), sys.argv[2]), nprocs=2, start_method="fork")
