"""`backflip WORDS...` as the work of a forked process; a module of its own, for the process finds it by this name."""

from __future__ import annotations

import os
import resource
import signal
import sys

from backflip.cli import main


def command(words: list[str], log: str, cwd: str, limit: int | None) -> None:
    """Runs in the new process. `limit`: no file may grow beyond so many bytes, as on a full disk."""
    os.chdir(cwd)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores it
    with open(log, "a", buffering=1, encoding="utf-8") as file:  # noqa: PTH123
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.exit(main(words))
