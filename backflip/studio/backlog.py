"""A project's queue as an admin sees it: its lanes, what is asked next, and changes to many questions at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from backflip.feedback.codec import decode_answer, decode_question
from backflip.feedback.projects import TESTS
from backflip.feedback.schema import answers as given
from backflip.feedback.schema import is_open, lanes, questions, queue, withdrawals
from backflip.feedback.store import Counts, Store
from backflip.records import Answer, Question

__all__ = [
    "Lane",
    "Waiting",
    "Withdrawn",
    "answers_to",
    "lanes_of",
    "look_up",
    "newest_clips",
    "open_ids",
    "question_in",
    "upcoming",
    "withdrawn",
]


@dataclass(frozen=True)
class Lane:
    """The questions of one medium and purpose; the counts are of the purpose."""

    medium: str
    purpose: str
    counts: Counts


@dataclass(frozen=True)
class Waiting:
    """A question in the queue: answers wanted, given and under way."""

    question: Question
    priority: float
    overlap: int
    answered: int
    leased: int


@dataclass(frozen=True)
class Withdrawn:
    """A withdrawal as an admin sees it."""

    number: int
    sequence: int
    labeller: str
    reason: str
    recorded: float


def lanes_of(store: Store, project: str) -> list[Lane]:
    """The lanes of a project, by purpose."""
    query = sa.select(lanes.c.medium, lanes.c.purpose).where(lanes.c.project == project)
    with store.database.read() as connection:
        rows = connection.execute(query.order_by(lanes.c.purpose, lanes.c.medium)).all()
    return [Lane(row.medium, row.purpose, store.counts(project, purpose=row.purpose)) for row in rows]


def upcoming(store: Store, project: str, *, limit: int = 10) -> list[Waiting]:
    """What is asked next, in this order; questions that test labellers are handed out apart from it."""
    query = _waiting().where(queue.c.project == project, is_open, queue.c.purpose.not_in(TESTS))
    query = query.order_by(queue.c.priority.desc(), queue.c.question).limit(limit)
    with store.database.read() as connection:
        return [_from(row) for row in connection.execute(query)]


def look_up(store: Store, project: str, *, text: str = "", limit: int = 20) -> list[Waiting]:
    """Questions of a project (whose content has the text), those with most answers first."""
    query = _waiting().where(queue.c.project == project)
    if text:
        query = query.where(questions.c.payload.contains(text, autoescape=True))
    query = query.order_by(queue.c.answered.desc(), queue.c.question).limit(limit)
    with store.database.read() as connection:
        return [_from(row) for row in connection.execute(query)]


def question_in(store: Store, project: str, key: str) -> Question | None:
    """The question of this id, if it is one of the project's."""
    query = _waiting().where(queue.c.project == project, questions.c.id == key)
    with store.database.read() as connection:
        row = connection.execute(query).first()
    return None if row is None else _from(row).question


def newest_clips(store: Store, project: str, *, limit: int = 4) -> list[str]:
    """The media of the clips that were asked about last."""
    query = sa.select(questions.c.payload).where(questions.c.project == project, questions.c.medium == "clip")
    with store.database.read() as connection:
        payloads = list(connection.scalars(query.order_by(questions.c.number.desc()).limit(limit)))
    shown = [c.media for payload in payloads for c in decode_question(payload, priority=0.0).candidates if c.media]
    return shown[:limit]


def answers_to(store: Store, key: str) -> list[Answer]:
    """The answers to a question that stand."""
    gone = sa.exists().where(withdrawals.c.sequence == given.c.sequence)
    query = sa.select(given.c.payload).join_from(given, questions, questions.c.number == given.c.question)
    query = query.where(questions.c.id == key, ~gone).order_by(given.c.sequence)
    with store.database.read() as connection:
        return [decode_answer(payload) for payload in connection.scalars(query)]


def open_ids(store: Store, project: str, purpose: str) -> Iterator[str]:
    """The ids of the questions of a purpose that want answers still."""
    wanting = queue.c.overlap > queue.c.answered
    query = (
        sa.select(questions.c.id)
        .join_from(queue, questions, questions.c.number == queue.c.question)
        .where(queue.c.project == project, questions.c.purpose == purpose, wanting)
    )
    with store.database.read() as connection:
        yield from connection.scalars(query).all()


def withdrawn(store: Store, project: str, *, limit: int = 50) -> list[Withdrawn]:
    """The last withdrawals of a project, newest first."""
    query = (
        sa.select(withdrawals, given.c.labeller)
        .join_from(withdrawals, given, withdrawals.c.sequence == given.c.sequence)
        .where(given.c.project == project)
        .order_by(withdrawals.c.number.desc())
        .limit(limit)
    )
    with store.database.read() as connection:
        rows = connection.execute(query).all()
    return [Withdrawn(row.number, row.sequence, row.labeller, row.reason, row.recorded) for row in rows]


def _waiting() -> sa.Select[tuple[object, ...]]:
    columns = (questions.c.payload, queue.c.priority, queue.c.overlap, queue.c.answered, queue.c.leased)
    return sa.select(*columns).join_from(queue, questions, questions.c.number == queue.c.question)


def _from(row: sa.Row[tuple[object, ...]]) -> Waiting:
    question = decode_question(row.payload, priority=row.priority)
    return Waiting(question, row.priority, row.overlap, row.answered, row.leased)
