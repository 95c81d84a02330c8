"""Processes side by side that live no longer than the one that began them, even where that is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable

from backflip.errors import BackflipError
from backflip.recipes.command import exit_code

__all__ = ["side_by_side"]


def side_by_side(work: Callable[[], None], count: int) -> None:
    """Does the work (of a kind that can be pickled) in `count` processes; BackflipError where one did not end well."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_in_process, args=(work,), daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise BackflipError("not all ended well; what went wrong is said above, and the same command goes on")


def _in_process(work: Callable[[], None]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    raise SystemExit(exit_code(work))


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)  # as safe as any other end
