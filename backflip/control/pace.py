"""How many questions may wait: as many as are due by the annealed rate, and no more than people get through.

A question that waits is about a policy that moves on. So few wait at once, the newest are asked first, and one that
nobody took in time expires; its place goes to a fresh one. An answer that comes late all the same counts as any other.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["Pace", "Waiting"]


@dataclass
class Pace:
    """What labellers got through lately. Times are seconds of one clock."""

    window: float = 60.0
    least: int = 8
    _times: deque[float] = field(default_factory=deque)

    def heard(self, count: int, now: float) -> None:
        """So many answers came in."""
        self._times.extend([now] * count)
        while self._times and self._times[0] < now - self.window:
            self._times.popleft()

    def a_minute(self, now: float) -> int:
        """Answers in the last window."""
        return sum(time >= now - self.window for time in self._times)

    def room(self, *, due: int, asked: int, waiting: int, now: float) -> int:
        """How many more to ask: of those due, what keeps no more waiting than half a window's work."""
        ahead = max(self.least, math.ceil(self.a_minute(now) / 2))
        return max(0, min(due - asked, ahead - waiting))


@dataclass
class Waiting:
    """Questions without an answer, each with the agent's steps and the time when it was asked."""

    steps: int
    """It is stale when the agent is so many environment steps further .."""
    seconds: float = 60.0
    """.. and it has waited so long: nobody is hurried by a fast agent."""
    _asked: dict[str, tuple[int, float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._asked)

    def add(self, questions: Iterable[str], *, steps: int, now: float) -> None:
        """They were asked."""
        self._asked.update(dict.fromkeys(questions, (steps, now)))

    def answered(self, questions: Iterable[str]) -> None:
        """They wait no longer."""
        for question in questions:
            self._asked.pop(question, None)

    def expire(self, *, steps: int, now: float) -> list[str]:
        """Takes the stale ones off the list and names them."""
        stale = [
            question
            for question, (then, since) in self._asked.items()
            if steps - then > self.steps and now - since > self.seconds
        ]
        self.answered(stale)
        return stale
