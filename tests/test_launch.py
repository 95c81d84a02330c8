"""argv, word by word."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from backflip.errors import ConfigError
from backflip.launch import argv


def test_local() -> None:
    assert argv("sft", ["--lr", "1e-5", "--name", "a b"]) == (
        [sys.executable, "-m", "backflip.recipes.sft", "--lr", "1e-5", "--name", "a b"]
    )


def test_torchrun_on_one_node() -> None:
    words = "-m torch.distributed.run --standalone --nproc-per-node 4 -m backflip.recipes.ppo --seed 1"
    assert argv("ppo", ["--seed", "1"], target="torchrun", processes=4) == [sys.executable, *words.split()]


def test_torchrun_on_two_nodes() -> None:
    words = (
        "-m torch.distributed.run --nnodes 2 --rdzv-backend c10d --rdzv-endpoint head:29500 "
        "--nproc-per-node 8 -m backflip.recipes.ppo"
    )
    seen = argv("ppo", target="torchrun", processes=8, nodes=2, rendezvous="head:29500")
    assert seen == [sys.executable, *words.split()]


def test_ray() -> None:
    words = "ray job submit --working-dir . -- python -m backflip.recipes.reward --seed 1"
    assert argv("reward", ["--seed", "1"], target="ray") == words.split()


def test_ray_with_torchrun_inside() -> None:
    words = (
        "ray job submit --address http://head:8265 --working-dir w --entrypoint-num-gpus 2 -- "
        "python -m torch.distributed.run --standalone --nproc-per-node 2 -m backflip.recipes.reward"
    )
    seen = argv("reward", target="ray", processes=2, address="http://head:8265", working_dir="w", gpus=2)
    assert seen == words.split()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "sft; rm"}, "recipe is 'sft; rm'"),
        ({"target": "slurm"}, "target is 'slurm'; wanted one of local, torchrun, ray"),
        ({"processes": 0}, "processes is 0; wanted 1 or more"),
        ({"processes": 2}, "processes is 2; wanted 1 with target local, or torchrun"),
        ({"target": "torchrun", "nodes": 0}, "nodes is 0"),
        ({"target": "torchrun", "nodes": 2}, "rendezvous is None; wanted the host:port"),
        ({"target": "ray", "nodes": 2}, "nodes is 2; wanted 1 with target ray"),
        ({"target": "ray", "args": ["$HOME"]}, r"argument '\$HOME' needs quoting"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        argv(**{"recipe": "sft", **changes})
