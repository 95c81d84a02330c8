"""How far a long loop is: a rich bar on a terminal, a plain line now and then where nobody looks on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Step", "progress"]


class Step(Protocol):
    """Called after each step of a loop: `advance` steps are done, `note` says how it goes."""

    def __call__(self, advance: int = 1, *, note: str = "") -> None: ...


@contextmanager
def progress(
    total: int,
    label: str,
    *,
    done: int = 0,
    console: Console | None = None,
    seconds_between_lines: float = 30.0,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Step]:
    """`with progress(100, "PPO", done=resumed) as step: ... step(note="score 1.2")`; it writes to stderr."""
    console = console or Console(stderr=True)
    if console.is_terminal:
        with _bar(console, total, label, done) as step:
            yield step
    else:
        yield _Lines(console, total, label, done, seconds_between_lines, clock)


@contextmanager
def _bar(console: Console, total: int, label: str, done: int) -> Iterator[Step]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[note]}", markup=False), console=console) as bar:
        task = bar.add_task(label, total=total, completed=done, note="")

        def step(advance: int = 1, *, note: str = "") -> None:
            if note:
                bar.update(task, note=note)
            bar.advance(task, advance)

        yield step


class _Lines:
    def __init__(
        self, console: Console, total: int, label: str, done: int, interval: float, clock: Callable[[], float]
    ) -> None:
        self._console, self._total, self._label, self._done = console, total, label, done
        self._interval, self._clock = interval, clock
        self._started = self._said = clock()

    def __call__(self, advance: int = 1, *, note: str = "") -> None:
        self._done += advance
        now = self._clock()
        if self._done >= self._total or now - self._said >= self._interval:
            self._said = now
            tail = f", {note}" if note else ""
            line = f"{self._label}: {self._done}/{self._total}, {now - self._started:.0f} s{tail}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
