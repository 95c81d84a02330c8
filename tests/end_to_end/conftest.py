"""Processes of their own that can be killed, made cheaply: a server imports torch once, and forks for each."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest

PRELOAD = ["backflip.demo.loop", "transformers.models.llama.modeling_llama", "textstat", "matplotlib.figure"]
Start = Callable[..., ForkServerProcess]


@pytest.fixture(scope="session")
def fork_server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


@pytest.fixture
def start(fork_server: ForkServerContext) -> Start:
    """`start(words, log, limit=bytes)`: `backflip WORDS...` in a process; its output goes to `log`."""

    def begin(words: list[str], log: Path, *, limit: int | None = None) -> ForkServerProcess:
        process = fork_server.Process(target=command, args=(words, str(log), str(Path.cwd()), limit), daemon=True)
        process.start()
        return process

    return begin


def command(words: list[str], log: str, cwd: str, limit: int | None) -> None:
    """Runs in the new process. `limit`: no file may grow beyond so many bytes, as on a full disk."""
    import resource
    import signal

    from backflip.cli import main

    os.chdir(cwd)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores it
    with open(log, "a", buffering=1, encoding="utf-8") as file:  # noqa: PTH123
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.exit(main(words))
