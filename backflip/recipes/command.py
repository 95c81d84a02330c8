"""`python -m backflip.recipes.NAME`: the same for every recipe, alone or once a rank under torchrun."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import tyro
from rich.console import Console

from backflip.errors import BackflipError, ConfigError

__all__ = ["command", "exit_code"]

INTERRUPTED, UNREAD = 130, 141  # 128 + SIGINT and SIGPIPE, as shells have it

T = TypeVar("T")


def command(config: type[T], run: Callable[[T], Any], *, description: str | None, alone: bool = False) -> None:
    """Reads `config` from the command line, runs, and prints the result, on rank 0 alone.

    `alone`: several ranks are refused, of a recipe that has no use for them. Raises SystemExit as `exit_code` says.
    """

    def work() -> None:
        if alone:
            _refuse_ranks()
        result = run(tyro.cli(config, description=description))
        from backflip.runs.ranks import leave, world  # torch: `backflip ask` imports this file and does without

        ranks = world()
        if ranks.rank == 0:
            Console(soft_wrap=True).print(result, markup=False, highlight=False)
        leave(ranks)

    if code := exit_code(work):
        raise SystemExit(code)


def exit_code(work: Callable[[], None]) -> int:
    """Does the work; the code that a command ends with: 0, 2 for a bad configuration, 3 for a pause, 130 for Ctrl-C.

    An error that Backflip raises on purpose is its message, in one line, and its code; others keep their traceback.
    """
    try:
        work()
    except BackflipError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader went away (`| head`): nothing to tell, and nobody to tell it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except SystemExit as end:  # tyro's: after --help or a wrong option, which it has explained
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _refuse_ranks() -> None:
    seen = os.environ.get("WORLD_SIZE", "1")
    if seen != "1":
        raise ConfigError(f"WORLD_SIZE is {seen}; wanted 1: this recipe is one process, so start it without torchrun")
