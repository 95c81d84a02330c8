"""Frozen models that stay in memory, or are there for one use alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

__all__ = ["Frozen"]

T = TypeVar("T")


class Frozen(Generic[T]):
    """What `load` gives. It is loaded at once, so that what cannot be loaded is known before any work begins.

    With `keep=False` it is let go and loaded anew for each use: disk for memory, with the same numbers.
    """

    def __init__(self, load: Callable[[], T], *, keep: bool) -> None:
        self._load = load
        first = load()
        self._kept = first if keep else None

    @contextmanager
    def use(self) -> Iterator[T]:
        """Lends it. A borrower that keeps it beyond the block keeps its memory too."""
        yield self._load() if self._kept is None else self._kept
