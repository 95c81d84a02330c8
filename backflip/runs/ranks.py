"""Several processes as one: a thin layer over torch.distributed. A world of one never touches it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from backflip.errors import ConfigError

__all__ = [
    "RANK_STRIDE",
    "World",
    "all_gather_objects",
    "average_gradients",
    "barrier",
    "leave",
    "rank_seed",
    "shard",
    "world",
]

T = TypeVar("T")

RANK_STRIDE = 100003  # a prime far above any count of seeds tried by hand (H; algorithms' detail 19)


class World(NamedTuple):
    """This process among `size` of them; `device` is its own GPU, or the CPU."""

    rank: int
    size: int
    device: torch.device


def world() -> World:
    """Joins the processes that torchrun started (NCCL with GPUs, gloo without), or is alone.

    Raises ConfigError when torchrun's variables are there in part, or a rank finds no GPU of its own.
    """
    size, rank, local = _number("WORLD_SIZE", 1), _number("RANK", 0), _number("LOCAL_RANK", 0)
    if size > 1 and not {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise ConfigError(
            f"WORLD_SIZE is {size} without RANK, MASTER_ADDR, MASTER_PORT: start the recipe with torchrun"
        )
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus and local >= gpus:
        raise ConfigError(
            f"local rank {local} finds {gpus} GPUs; wanted one a process: start at most {gpus} processes here"
        )
    device = torch.device("cuda", local) if gpus else torch.device("cpu")
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if gpus else "gloo", rank=rank, world_size=size)
    return World(rank, size, device)


def leave(world: World) -> None:
    """Ends what `world()` began; without it a process may hang on to its sockets at exit."""
    if world.size > 1 and dist.is_initialized():
        dist.destroy_process_group()


def rank_seed(seed: int, rank: int) -> int:
    """`seed + 100003 * rank` (H): rank 0 draws as a run alone does. A shuffle's seed is shared, and is not this."""
    return seed + RANK_STRIDE * rank


def shard(items: Sequence[T], world: World) -> list[T]:
    """Every `size`-th item from `rank` on. Shards differ in length by at most one."""
    return list(items[world.rank :: world.size])


def average_gradients(parameters: Iterable[Tensor], world: World) -> None:
    """Replaces each gradient by its mean over the ranks, in place; where one rank has none, it counts as zero."""
    if world.size == 1:
        return
    trained = [p for p in parameters if p.requires_grad]
    for p in trained:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    gradients = [p.grad for p in trained if p.grad is not None]
    pending = [dist.all_reduce(g, async_op=True) for g in gradients]
    for work in pending:
        work.wait()
    for gradient in gradients:
        gradient.div_(world.size)


def all_gather_objects(value: T, world: World) -> list[T]:
    """The value of every rank, in rank order, on every rank; values are pickled."""
    if world.size == 1:
        return [value]
    gathered: list[Any] = [None] * world.size
    dist.all_gather_object(gathered, value)
    return gathered


def barrier(world: World) -> None:
    """Waits for every rank."""
    if world.size > 1:
        dist.barrier()


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if text and not text.isdigit():
        raise ConfigError(f"the variable {name} is {text!r}; wanted a whole number: start the recipe with torchrun")
    return int(text or default)
