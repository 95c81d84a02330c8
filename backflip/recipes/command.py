"""`python -m backflip.recipes.NAME`: the same for every recipe, alone or once a rank under torchrun."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import tyro
from rich.console import Console

from backflip.errors import BackflipError

__all__ = ["command"]

T = TypeVar("T")


def command(config: type[T], run: Callable[[T], Any], *, description: str | None) -> None:
    """Reads `config` from the command line, runs, and prints the result, on rank 0 alone.

    An error that Backflip raises on purpose is its message and its exit code, Ctrl-C is 130; any other error keeps its
    traceback.
    """
    try:
        result = run(tyro.cli(config, description=description))
    except BackflipError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    except KeyboardInterrupt as pause:
        print("interrupted; the same command goes on", file=sys.stderr)
        raise SystemExit(130) from pause  # 128 + SIGINT, as shells have it
    from backflip.runs.ranks import leave, world  # torch: `backflip ask` imports this file and does without

    ranks = world()
    if ranks.rank == 0:
        Console(soft_wrap=True).print(result, markup=False, highlight=False)
    leave(ranks)
