"""The tables as queries see them. `backflip.feedback.migrations` makes them; a test holds the two equal.

Questions, answers and withdrawals are only ever appended. What changes lives apart and is small: `queue` has the
counters of a question (answers wanted, answers given, leases out) and `assignments` what became of a question with a
labeller (leased, answered, passed, withdrawn). A row of `assignments` has `expires` if and only if it is a lease.
A question's lane is its medium and purpose; `lanes` says which a project has, so that nothing has to be searched for.
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
    "audit",
    "demonstrations",
    "invitations",
    "is_open",
    "labellers",
    "lanes",
    "memberships",
    "metadata",
    "migrations",
    "people",
    "projects",
    "prompts",
    "questions",
    "queue",
    "secrets",
    "sessions",
    "tokens",
    "withdrawals",
    "writings",
]

LEASED: Final = "leased"
ANSWERED: Final = "answered"
PASSED: Final = "passed"
WITHDRAWN: Final = "withdrawn"

metadata = sa.MetaData()


def _text(name: str, *, primary_key: bool = False, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=primary_key, nullable=nullable)


def _integer(name: str, *, primary_key: bool = False, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, primary_key=primary_key, nullable=nullable, autoincrement=False)


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
    _text("medium"),
    _text("purpose"),
)

lanes = sa.Table(
    "lanes",
    metadata,
    _text("project", primary_key=True),
    _text("medium", primary_key=True),
    _text("purpose", primary_key=True),
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
    _number("withdrawn", nullable=True),  # since when it counts no more
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

# --- the studio's

projects = sa.Table("projects", metadata, _text("name", primary_key=True), _text("payload"))

writings = sa.Table(
    "writings",
    metadata,
    _integer("number", primary_key=True),
    _text("project"),
    _text("author"),
    _text("prompt"),  # its id
    _text("demonstration"),  # its id
    _text("key"),
    _text("state"),
    _text("note"),  # the reviewer's
    _text("reviewer"),
    _number("recorded"),
    _text("payload"),  # the demonstration
)

people = sa.Table(
    "people",
    metadata,
    _text("id", primary_key=True),  # the labeller's
    _text("role"),
    _text("password"),  # argon2's encoding; empty: none, so nobody can sign in with it
    _text("language"),
    _integer("active"),
    _number("created"),
)

memberships = sa.Table(
    "memberships",
    metadata,
    _text("person", primary_key=True),
    _text("project", primary_key=True),
    _integer("qualified", nullable=True),  # 1 passed, 0 failed, null: not yet known
)

sessions = sa.Table("sessions", metadata, _text("digest", primary_key=True), _text("person"), _number("expires"))

tokens = sa.Table(
    "tokens", metadata, _text("digest", primary_key=True), _text("person"), _text("label"), _number("created")
)

invitations = sa.Table(
    "invitations",
    metadata,
    _text("digest", primary_key=True),
    _text("role"),
    _text("project"),  # empty: none
    _text("note"),
    _text("inviter"),
    _number("expires"),
    _text("used", nullable=True),  # by whom
)

audit = sa.Table(
    "audit",
    metadata,
    _integer("number", primary_key=True),
    _number("recorded"),
    _text("person"),
    _text("action"),
    _text("subject"),
    _text("detail"),
    _text("address"),
)

secrets = sa.Table("secrets", metadata, _text("name", primary_key=True), _text("value"))

# Word for word the condition of the partial index `queue_open`, its 0 too: SQLite uses the index for nothing else.
is_open = queue.c.overlap - queue.c.answered - queue.c.leased > sa.literal_column("0")
