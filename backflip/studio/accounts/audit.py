"""The audit log: who did what, when and from where. Appended, never changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from backflip.feedback.codec import dump
from backflip.feedback.database import Database
from backflip.feedback.schema import audit
from backflip.feedback.shelves import next_number

__all__ = ["Audit", "Entry"]


@dataclass(frozen=True)
class Entry:
    """One thing that was done; `detail` is JSON."""

    number: int
    recorded: float
    person: str
    action: str
    subject: str
    detail: str
    address: str


class Audit:
    """The log of a store."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def record(self, person: str, action: str, subject: str = "", *, address: str = "", **detail: Any) -> None:
        """Appends one entry; in the transaction of what was done, if there is one."""
        with self._database.write() as connection:
            row = {"person": person, "action": action, "subject": subject, "address": address}
            values = row | {"recorded": self._clock(), "detail": dump(detail)}
            connection.execute(sa.insert(audit).values(number=next_number(connection, audit.c.number), **values))

    def entries(self, *, before: int | None = None, limit: int = 100, person: str | None = None) -> list[Entry]:
        """The last entries (of one person), newest first; `before` a number, for the next page."""
        query = sa.select(audit).order_by(audit.c.number.desc()).limit(limit)
        query = query if before is None else query.where(audit.c.number < before)
        query = query if person is None else query.where(audit.c.person == person)
        with self._database.read() as connection:
            return [Entry(*row) for row in connection.execute(query)]
