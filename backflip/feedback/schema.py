"""The tables as queries see them. `backflip.feedback.migrations` makes them; a test holds the two equal.

Questions, answers and withdrawals are only ever appended. What changes lives apart and is small: `queue` has the
counters of a question (answers wanted, answers given, leases out) and `assignments` what became of a question with a
labeller (leased, answered, passed, withdrawn). A row of `assignments` has `expires` if and only if it is a lease.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

__all__ = [
    "ANSWERED",
    "LEASED",
    "PASSED",
    "WITHDRAWN",
    "answers",
    "assignments",
    "demonstrations",
    "is_open",
    "labellers",
    "metadata",
    "migrations",
    "prompts",
    "questions",
    "queue",
    "withdrawals",
]

LEASED: Final = "leased"
ANSWERED: Final = "answered"
PASSED: Final = "passed"
WITHDRAWN: Final = "withdrawn"

metadata = sa.MetaData()


def _text(name: str, *, primary_key: bool = False, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=primary_key, nullable=nullable)


def _integer(name: str, *, primary_key: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, primary_key=primary_key, nullable=False, autoincrement=False)


def _number(name: str, *, nullable: bool = False) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=nullable)


migrations = sa.Table("migrations", metadata, _integer("version", primary_key=True), _text("name"), _number("applied"))

labellers = sa.Table("labellers", metadata, _text("id", primary_key=True), _text("kind"), _text("groups"))

questions = sa.Table(
    "questions",
    metadata,
    _integer("number", primary_key=True),  # 1, 2, 3.. in the order of arrival
    _text("id"),
    _text("project"),
    _text("purpose"),
    _text("medium"),
    _text("payload"),
)

queue = sa.Table(
    "queue",
    metadata,
    _integer("question", primary_key=True),
    _text("project"),
    _number("priority"),
    _integer("overlap"),  # answers wanted
    _integer("answered"),  # answers given, less withdrawals
    _integer("leased"),  # leases out, with those that expired and were not yet swept
)

assignments = sa.Table(
    "assignments",
    metadata,
    _integer("question", primary_key=True),
    _text("labeller", primary_key=True),
    _text("state"),
    _text("token", nullable=True),
    _number("expires", nullable=True),
    _text("note"),  # why a labeller passed
)

answers = sa.Table(
    "answers",
    metadata,
    _integer("sequence", primary_key=True),  # 1, 2, 3.. in the order of commits, without gaps
    _integer("question"),
    _text("labeller"),
    _text("project"),
    _text("key", nullable=True),
    _text("digest"),
    _number("recorded"),
    _text("payload"),
)

withdrawals = sa.Table(
    "withdrawals",
    metadata,
    _integer("number", primary_key=True),
    _integer("sequence"),
    _text("reason"),
    _number("recorded"),
)

demonstrations = sa.Table(
    "demonstrations",
    metadata,
    _integer("number", primary_key=True),
    _text("id"),
    _text("project"),
    _text("payload"),
)

prompts = sa.Table(
    "prompts",
    metadata,
    _integer("number", primary_key=True),
    _text("name"),  # of the prompt set
    _text("split"),
    _text("id"),
    _text("payload"),
)

# Word for word the condition of the partial index `queue_open`, its 0 too: SQLite uses the index for nothing else.
is_open = queue.c.overlap - queue.c.answered - queue.c.leased > sa.literal_column("0")
