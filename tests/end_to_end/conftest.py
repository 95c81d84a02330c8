"""Processes of their own that can be killed, made cheaply: a server imports torch once, and forks for each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest
from forked_command import command

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
