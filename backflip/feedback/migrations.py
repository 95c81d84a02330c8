"""Numbered steps that bring any older store to today's shape. Append-only: a step that was released never changes.

Each step is one transaction that also records itself, so a step has wholly run or not at all. SQL is written for what
SQLite and PostgreSQL share.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import sqlalchemy as sa

from backflip.errors import FeedbackError
from backflip.feedback.database import Database

__all__ = ["MIGRATIONS", "Migration", "migrate", "version"]


class Migration(NamedTuple):
    """One step: its name and its statements, in order. Its number is its place in `MIGRATIONS`, from 1."""

    name: str
    statements: tuple[str, ...]


_BEGINNING = (
    "CREATE TABLE labellers (id TEXT NOT NULL PRIMARY KEY, kind TEXT NOT NULL, groups TEXT NOT NULL)",
    """CREATE TABLE questions (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, purpose TEXT NOT NULL,
        medium TEXT NOT NULL, payload TEXT NOT NULL)""",
    "CREATE INDEX questions_project ON questions (project, number)",
    """CREATE TABLE queue (
        question INTEGER PRIMARY KEY REFERENCES questions (number), project TEXT NOT NULL,
        priority DOUBLE PRECISION NOT NULL, overlap INTEGER NOT NULL CHECK (overlap >= 0),
        answered INTEGER NOT NULL CHECK (answered >= 0), leased INTEGER NOT NULL CHECK (leased >= 0))""",
    # The next open question is the first entry of this index: highest priority, then oldest.
    """CREATE INDEX queue_open ON queue (project, priority DESC, question)
        WHERE overlap - answered - leased > 0""",
    """CREATE TABLE assignments (
        question INTEGER NOT NULL REFERENCES questions (number), labeller TEXT NOT NULL REFERENCES labellers (id),
        state TEXT NOT NULL CHECK (state IN ('leased', 'answered', 'passed', 'withdrawn')),
        token TEXT UNIQUE, expires DOUBLE PRECISION, note TEXT NOT NULL,
        PRIMARY KEY (question, labeller), CHECK ((state = 'leased') = (expires IS NOT NULL)))""",
    "CREATE INDEX assignments_expires ON assignments (expires) WHERE expires IS NOT NULL",
    "CREATE INDEX assignments_held ON assignments (labeller) WHERE expires IS NOT NULL",
    """CREATE TABLE answers (
        sequence INTEGER PRIMARY KEY, question INTEGER NOT NULL REFERENCES questions (number),
        labeller TEXT NOT NULL REFERENCES labellers (id), project TEXT NOT NULL, key TEXT, digest TEXT NOT NULL,
        recorded DOUBLE PRECISION NOT NULL, payload TEXT NOT NULL, UNIQUE (labeller, key))""",
    "CREATE INDEX answers_question ON answers (question)",
    "CREATE INDEX answers_project ON answers (project, sequence)",
    """CREATE TABLE withdrawals (
        number INTEGER PRIMARY KEY, sequence INTEGER NOT NULL UNIQUE REFERENCES answers (sequence),
        reason TEXT NOT NULL, recorded DOUBLE PRECISION NOT NULL)""",
    """CREATE TABLE demonstrations (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, payload TEXT NOT NULL)""",
    """CREATE TABLE prompts (
        number INTEGER PRIMARY KEY, name TEXT NOT NULL, split TEXT NOT NULL, id TEXT NOT NULL, payload TEXT NOT NULL,
        UNIQUE (name, id))""",
)

_STUDIO = (
    # A lane is a medium and a purpose: the next question of one is one look into the index.
    "ALTER TABLE queue ADD COLUMN medium TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE queue ADD COLUMN purpose TEXT NOT NULL DEFAULT ''",
    """UPDATE queue SET medium = (SELECT medium FROM questions WHERE number = queue.question),
        purpose = (SELECT purpose FROM questions WHERE number = queue.question)""",
    "DROP INDEX queue_open",
    """CREATE INDEX queue_open ON queue (project, medium, purpose, priority DESC, question)
        WHERE overlap - answered - leased > 0""",
    """CREATE TABLE lanes (project TEXT NOT NULL, medium TEXT NOT NULL, purpose TEXT NOT NULL,
        PRIMARY KEY (project, medium, purpose))""",
    "INSERT INTO lanes (project, medium, purpose) SELECT DISTINCT project, medium, purpose FROM questions",
    "CREATE INDEX answers_labeller ON answers (labeller, sequence)",
    "ALTER TABLE demonstrations ADD COLUMN withdrawn DOUBLE PRECISION",
    "CREATE TABLE projects (name TEXT NOT NULL PRIMARY KEY, payload TEXT NOT NULL)",
    """CREATE TABLE writings (
        number INTEGER PRIMARY KEY, project TEXT NOT NULL, author TEXT NOT NULL REFERENCES labellers (id),
        prompt TEXT NOT NULL, demonstration TEXT NOT NULL, key TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('submitted', 'accepted', 'returned', 'withdrawn')),
        note TEXT NOT NULL, reviewer TEXT NOT NULL, recorded DOUBLE PRECISION NOT NULL, payload TEXT NOT NULL,
        UNIQUE (author, key))""",
    "CREATE INDEX writings_demonstration ON writings (demonstration)",
    "CREATE INDEX writings_project ON writings (project, prompt)",
    """CREATE TABLE people (
        id TEXT NOT NULL PRIMARY KEY REFERENCES labellers (id),
        role TEXT NOT NULL CHECK (role IN ('viewer', 'labeller', 'admin')),
        password TEXT NOT NULL, language TEXT NOT NULL, active INTEGER NOT NULL, created DOUBLE PRECISION NOT NULL)""",
    """CREATE TABLE memberships (
        person TEXT NOT NULL REFERENCES people (id), project TEXT NOT NULL, qualified INTEGER,
        PRIMARY KEY (person, project))""",
    """CREATE TABLE sessions (
        digest TEXT NOT NULL PRIMARY KEY, person TEXT NOT NULL REFERENCES people (id),
        expires DOUBLE PRECISION NOT NULL)""",
    "CREATE INDEX sessions_person ON sessions (person)",
    """CREATE TABLE tokens (
        digest TEXT NOT NULL PRIMARY KEY, person TEXT NOT NULL REFERENCES people (id), label TEXT NOT NULL,
        created DOUBLE PRECISION NOT NULL)""",
    "CREATE INDEX tokens_person ON tokens (person)",
    """CREATE TABLE invitations (
        digest TEXT NOT NULL PRIMARY KEY, role TEXT NOT NULL, project TEXT NOT NULL, note TEXT NOT NULL,
        inviter TEXT NOT NULL, expires DOUBLE PRECISION NOT NULL, used TEXT)""",
    """CREATE TABLE audit (
        number INTEGER PRIMARY KEY, recorded DOUBLE PRECISION NOT NULL, person TEXT NOT NULL, action TEXT NOT NULL,
        subject TEXT NOT NULL, detail TEXT NOT NULL, address TEXT NOT NULL)""",
    "CREATE TABLE secrets (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
)

MIGRATIONS: tuple[Migration, ...] = (Migration("beginning", _BEGINNING), Migration("studio", _STUDIO))


def version(connection: sa.Connection) -> int:
    """The number of the last step that ran on this database; 0 for an empty one."""
    if not sa.inspect(connection).has_table("migrations"):
        return 0
    return int(connection.scalar(sa.text("SELECT coalesce(max(version), 0) FROM migrations")) or 0)


def migrate(database: Database, *, steps: tuple[Migration, ...] = MIGRATIONS) -> int:
    """Runs the steps that this database lacks; returns how many ran.

    Two processes may call this at once: the writer's lock is held in each step, and the version is read under it.

    Raises:
        FeedbackError: the database was written by a newer Backflip.
    """
    with database.read() as connection:  # an up-to-date store opens without waiting for a writer
        done = _refuse_newer(version(connection), known=len(steps), place=database.place)
    ran = 0
    while done < len(steps):
        done, stepped = _step(database, steps)
        ran += stepped
    return ran


def _step(database: Database, steps: tuple[Migration, ...]) -> tuple[int, bool]:
    with database.write() as connection:
        done = _refuse_newer(version(connection), known=len(steps), place=database.place)
        if done == len(steps):  # another process was faster
            return done, False
        if done == 0:
            ledger = "version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied DOUBLE PRECISION NOT NULL"
            connection.exec_driver_sql(f"CREATE TABLE IF NOT EXISTS migrations ({ledger})")
        step = steps[done]
        for statement in step.statements:
            connection.exec_driver_sql(statement)
        record = sa.text("INSERT INTO migrations (version, name, applied) VALUES (:version, :name, :applied)")
        connection.execute(record, {"version": done + 1, "name": step.name, "applied": time.time()})
    return done + 1, True


def _refuse_newer(found: int, *, known: int, place: str) -> int:
    if found > known:
        raise FeedbackError(
            f"the store {place} is at version {found}, and this Backflip knows versions up to {known}; "
            "upgrade Backflip, or open another store"
        )
    return found
