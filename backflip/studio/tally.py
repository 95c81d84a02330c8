"""How full each project's queue is, for the pages: counted now and then, because a large store takes its time."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from backflip.errors import BackflipError
from backflip.feedback.projects import TESTS
from backflip.feedback.store import Counts, Store

__all__ = ["Tally"]

_QUICK = 0.01  # seconds: what takes less is counted while one waits
_FRESH_QUICK, _FRESH_SLOW = 0.2, 5.0  # seconds that a count is kept at least
_SHARE = 50  # a count is kept for so many times of what it took


@dataclass(frozen=True)
class _Known:
    counts: Counts
    took: float
    again: float  # when it is to be counted again (monotonic)


class Tally:
    """The counts of projects, test questions aside. The first one is waited for; later ones may be seconds old."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, _Known] = {}
        self._counting: set[str] = set()
        self._lock = threading.Lock()

    def of(self, project: str) -> Counts:
        """How many questions and answers a project has."""
        known = self._known.get(project)
        if known is None:
            return self._count(project)
        if time.monotonic() < known.again or not self._claim(project):
            return known.counts
        if known.took < _QUICK:
            self._later(project)
            known = self._known[project]
        else:
            threading.Thread(target=self._later, args=(project,), daemon=True).start()
        return known.counts

    def _claim(self, project: str) -> bool:
        with self._lock:
            if project in self._counting:
                return False
            self._counting.add(project)
            return True

    def _later(self, project: str) -> None:
        try:
            self._count(project)
        except BackflipError:
            pass  # the old count stays; who needs the store will hear of it
        finally:
            with self._lock:
                self._counting.discard(project)

    def _count(self, project: str) -> Counts:
        begin = time.monotonic()
        counts = self._store.counts(project, but=TESTS)
        end = time.monotonic()
        fresh = _FRESH_QUICK if end - begin < _QUICK else _FRESH_SLOW
        self._known[project] = _Known(counts, end - begin, end + max(fresh, _SHARE * (end - begin)))
        return counts
