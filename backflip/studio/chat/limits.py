"""How much anybody may ask: length, how many at once, how often. A place is freed however the answer ends."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from backflip.config import require
from backflip.studio.refusals import TooMany

__all__ = ["Limits", "Places"]

_MINUTE = 60.0


@dataclass(frozen=True)
class Limits:
    """What one server takes."""

    longest: int = 512
    """Tokens of an answer, at most."""
    characters: int = 32_000
    """Characters of all the messages of a request."""
    at_once: int = 64
    """Answers under way at once, everybody's."""
    at_once_each: int = 8
    """Answers under way at once of one client."""
    per_minute: int = 120
    """Requests of one client within a minute."""

    def __post_init__(self) -> None:
        for name in ("longest", "characters", "at_once", "at_once_each", "per_minute"):
            require(getattr(self, name) >= 1, name, seen=getattr(self, name), wanted="1 or more")


class Places:
    """Who has how many answers under way, and who asked how often. Used by one thread, the server's loop."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self._clock = limits, clock
        self._busy: Counter[str] = Counter()
        self._asked: dict[str, deque[float]] = {}

    @property
    def busy(self) -> int:
        """Answers under way."""
        return self._busy.total()

    @contextmanager
    def take(self, client: str) -> Iterator[None]:
        """A place for one answer. Raises TooMany, with the seconds to wait."""
        limits = self.limits
        self._count(client)
        if self._busy[client] >= limits.at_once_each:
            raise TooMany(f"{limits.at_once_each} of your answers are under way; wait for one of them to end", 1)
        if self.busy >= limits.at_once:
            raise TooMany(f"{limits.at_once} answers are under way, and no more are taken; try again soon", 2)
        self._busy[client] += 1
        try:
            yield
        finally:
            self._busy[client] -= 1
            if not self._busy[client]:
                del self._busy[client]

    def _count(self, client: str) -> None:
        now, most = self._clock(), self.limits.per_minute
        for name in [name for name, times in self._asked.items() if times[-1] <= now - _MINUTE]:
            del self._asked[name]
        times = self._asked.setdefault(client, deque())
        while times and times[0] <= now - _MINUTE:
            times.popleft()
        if len(times) >= most:
            raise TooMany(f"{most} requests within a minute are what one client may send", times[0] + _MINUTE - now)
        times.append(now)
