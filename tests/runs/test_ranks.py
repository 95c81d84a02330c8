"""Two real gloo processes agree; a world of one needs none of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from two_ranks import two_ranks

from backflip.errors import ConfigError
from backflip.runs.ranks import World, all_gather_objects, average_gradients, barrier, leave, rank_seed, shard, world

ALONE = World(0, 1, torch.device("cpu"))


def test_alone_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    here = world()
    assert here[:2] == (0, 1)
    parameter = torch.nn.Parameter(torch.zeros(2))
    average_gradients([parameter], here)
    barrier(here)
    leave(here)
    assert parameter.grad is None
    assert all_gather_objects("x", here) == ["x"]
    assert not dist.is_initialized()


def test_broken_surroundings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ConfigError, match="WORLD_SIZE is 'two'; wanted a whole number"):
        world()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match="start the recipe with torchrun"):
        world()


def test_rank_seeds() -> None:
    assert [rank_seed(7, r) for r in (0, 1, 3)] == [7, 100010, 300016]


@given(st.lists(st.integers()), st.integers(1, 5))
def test_shards_are_a_partition_of_even_sizes(items: list[int], size: int) -> None:
    shards = [shard(items, World(r, size, torch.device("cpu"))) for r in range(size)]
    assert sorted(x for s in shards for x in s) == sorted(items)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def on_each(rank: int, folder: Path) -> None:
    here = world()
    both, one, none = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    frozen = torch.nn.Parameter(torch.zeros(2), requires_grad=False)
    both.grad = torch.tensor([1.0, 10.0]) * (rank + 1)
    if rank == 1:
        one.grad = torch.tensor([4.0, 8.0])
    average_gradients(iter([both, one, none, frozen]), here)
    barrier(here)
    gathered = all_gather_objects({"rank": rank, "items": shard(range(5), here)}, here)
    grads = [p.grad.tolist() if p.grad is not None else None for p in (both, one, none, frozen)]
    torch.save({"grads": grads, "gathered": gathered}, folder / f"{rank}.pt")


def test_two_processes(tmp_path: Path) -> None:
    two_ranks(__file__, "on_each", tmp_path)
    first, second = (torch.load(tmp_path / f"{r}.pt") for r in range(2))
    # ([1, 10] + [2, 20]) / 2; (none + [4, 8]) / 2; neither has one; frozen stays without.
    assert first["grads"] == [[1.5, 15.0], [2.0, 4.0], [0.0, 0.0], None]
    assert first["gathered"] == [{"rank": 0, "items": [0, 2, 4]}, {"rank": 1, "items": [1, 3]}]
    assert first == second
