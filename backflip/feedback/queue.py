"""Which question a labeller gets next: leases, and the counters that make the choice one look into an index.

A question is open while answers + leases < overlap. Highest priority first, then oldest; never to a labeller who has
it, answered it or passed on it. A lease that expired is swept by the next one who asks. The functions run in a
transaction of the caller (`backflip.feedback.store.Store`).

Locks on PostgreSQL: `hand_out` locks its labeller's row first and then waits for nothing (rows that are taken are
skipped), so it cannot be part of a deadlock; all other writes queue at the writer's lock.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa

from backflip.feedback.codec import decode_question
from backflip.feedback.schema import (
    ANSWERED,
    LEASED,
    answers,
    assignments,
    is_open,
    labellers,
    lanes,
    questions,
    queue,
    withdrawals,
)
from backflip.feedback.shelves import only
from backflip.records import Labeller, Question

__all__ = [
    "Counts",
    "Lease",
    "count",
    "give_back",
    "hand_out",
    "held",
    "lease_again",
    "lock_labeller",
    "settle",
    "standing",
    "sweep",
]

_SWEEP = 1000  # expired leases that one look takes back at most


@dataclass(frozen=True)
class Lease:
    """A question that waits for one labeller until `expires` (seconds of the store's clock)."""

    token: str
    question: Question
    labeller: str
    project: str
    expires: float


@dataclass(frozen=True)
class Counts:
    """A project at a glance. `open` questions can be leased now; `wanted` answers are still to come."""

    questions: int
    open: int
    leased: int
    answers: int
    wanted: int
    withdrawn: int


def lock_labeller(connection: sa.Connection, labeller: str) -> None:
    """Makes all that one labeller does one after the other (PostgreSQL; on SQLite every write already is)."""
    connection.execute(sa.select(labellers.c.id).where(labellers.c.id == labeller).with_for_update(key_share=True))


def sweep(connection: sa.Connection, *, now: float) -> int:
    """Takes back leases that expired, those of others that are in use just now excepted; returns how many."""
    lease = assignments.c
    expired = connection.execute(
        sa.select(lease.question, lease.labeller)
        .join_from(assignments, queue, lease.question == queue.c.question)
        .where(lease.expires <= now)
        .limit(_SWEEP)
        .with_for_update(skip_locked=True)
    ).all()
    for question, labeller in expired:
        _end_lease(connection, question, labeller)
    return len(expired)


def hand_out(
    connection: sa.Connection,
    labeller: Labeller,
    *,
    project: str,
    limit: int,
    now: float,
    expires: float,
    purpose: str | None = None,
    medium: str | None = None,
    but: Collection[str] = (),
) -> list[Lease]:
    """Leases the next questions, at most `limit`, in the order in which they should be asked.

    Of one purpose and one medium if these are given, and never of the purposes `but`.
    """
    lock_labeller(connection, labeller.id)
    sweep(connection, now=now)
    _walk_the_index(connection)
    wanted = only(
        sa.select(lanes).where(lanes.c.project == project), (lanes.c.purpose, purpose), (lanes.c.medium, medium)
    )
    found = [
        (-row.priority, row.question)
        for lane in connection.execute(wanted).all()
        if lane.purpose not in but
        for row in connection.execute(_next_open(labeller.id, *lane, limit=limit))
    ]
    numbers = [number for _, number in islice(sorted(found), limit)]
    if not numbers:
        return []
    taken = queue.c.question.in_(numbers)
    connection.execute(sa.update(queue).where(taken).values(leased=queue.c.leased + 1))
    rows = [_lease_row(number, expires) | {"question": number, "labeller": labeller.id} for number in numbers]
    connection.execute(sa.insert(assignments), rows)
    tokens = [str(row["token"]) for row in rows]
    leases = {lease.token: lease for lease in _leases(connection, assignments.c.token.in_(tokens))}
    return [leases[token] for token in tokens]


def lease_again(connection: sa.Connection, question: int, labeller: str, *, was: str, expires: float) -> Lease:
    """Leases a question once more to a labeller who had it, whatever its overlap: they take back what they said."""
    row = _lease_row(question, expires)
    mine = sa.and_(assignments.c.question == question, assignments.c.labeller == labeller)
    connection.execute(sa.update(assignments).where(mine).values(row))
    more = int(was != LEASED)
    connection.execute(sa.update(queue).where(queue.c.question == question).values(leased=queue.c.leased + more))
    return next(iter(_leases(connection, mine)))


def _lease_row(question: int, expires: float) -> dict[str, Any]:
    return {"question": question, "state": LEASED, "token": uuid.uuid4().hex, "expires": expires, "note": ""}


def _walk_the_index(connection: sa.Connection) -> None:
    # Before its statistics are gathered (after a large import, say) PostgreSQL would rather sort all open questions.
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.set_config("enable_sort", "off", True)))  # of this transaction only


def _next_open(labeller: str, project: str, medium: str, purpose: str, *, limit: int) -> sa.Select[tuple[int, float]]:
    # A count and not NOT EXISTS: PostgreSQL turns that into a join over all open questions, which it then sorts.
    mine = sa.and_(assignments.c.question == queue.c.question, assignments.c.labeller == labeller)
    had = sa.select(sa.func.count()).select_from(assignments).where(mine).scalar_subquery()
    lane = sa.and_(queue.c.project == project, queue.c.medium == medium, queue.c.purpose == purpose)
    return (
        sa.select(queue.c.question, queue.c.priority)
        .where(lane, is_open, had == 0)
        .order_by(queue.c.priority.desc(), queue.c.question)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True, of=queue)
    )


def held(connection: sa.Connection, labeller: str, *, project: str, now: float) -> list[Lease]:
    """The leases that a labeller holds now, first to expire first: what a page shows again after a reload."""
    mine = sa.and_(assignments.c.labeller == labeller, assignments.c.expires > now)
    # The project is looked at here: SQLite would rather read all questions of a project than one labeller's leases.
    found = [lease for lease in _leases(connection, mine) if lease.project == project]
    return sorted(found, key=lambda lease: lease.expires)


def _leases(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[Lease]:
    query = (
        sa.select(assignments, questions.c.payload, questions.c.project, queue.c.priority)
        .join_from(assignments, questions, assignments.c.question == questions.c.number)
        .join(queue, queue.c.question == questions.c.number)
        .where(condition)
    )
    return [
        Lease(
            token=row.token,
            question=decode_question(row.payload, priority=row.priority),
            labeller=row.labeller,
            project=row.project,
            expires=row.expires,
        )
        for row in sorted(connection.execute(query), key=lambda row: row.question)
    ]


def give_back(connection: sa.Connection, token: str, *, now: float) -> bool:
    """Ends a lease; False if it was over already."""
    lease = assignments.c
    row = connection.execute(
        sa.select(lease.question, lease.labeller, lease.expires).where(lease.token == token).with_for_update()
    ).first()
    if row is None:
        return False
    _end_lease(connection, row.question, row.labeller)
    return bool(row.expires > now)


def _end_lease(connection: sa.Connection, question: int, labeller: str) -> None:
    lease = assignments.c
    connection.execute(sa.delete(assignments).where(lease.question == question, lease.labeller == labeller))
    connection.execute(sa.update(queue).where(queue.c.question == question).values(leased=queue.c.leased - 1))


def standing(connection: sa.Connection, question: int, labeller: str) -> str | None:
    """What this question is to this labeller: leased, answered, passed, withdrawn, or None if they never had it."""
    row = assignments.c
    return connection.scalar(
        sa.select(row.state).where(row.question == question, row.labeller == labeller).with_for_update()
    )


def settle(
    connection: sa.Connection, question: int, labeller: str, *, was: str | None, state: str, note: str = ""
) -> None:
    """Writes what a labeller did with a question (`state`), and keeps the question's counters true to it."""
    values = {"state": state, "token": None, "expires": None, "note": note}
    if was is None:
        connection.execute(sa.insert(assignments).values(question=question, labeller=labeller, **values))
    else:
        mine = sa.and_(assignments.c.question == question, assignments.c.labeller == labeller)
        connection.execute(sa.update(assignments).where(mine).values(**values))
    answered = int(state == ANSWERED) - int(was == ANSWERED)
    leased = -int(was == LEASED)
    connection.execute(
        sa.update(queue)
        .where(queue.c.question == question)
        .values(answered=queue.c.answered + answered, leased=queue.c.leased + leased)
    )


def count(
    connection: sa.Connection, *, project: str, now: float, purpose: str | None = None, but: Collection[str] = ()
) -> Counts:
    """Counts a project's questions and answers as of `now`: an expired lease is given back.

    Of one purpose if it is given, and without those of the purposes `but`.
    """
    lease, entry = assignments.c, queue.c
    chosen = sa.and_(entry.purpose.not_in(but), sa.true() if purpose is None else entry.purpose == purpose)
    expired = (
        sa.select(lease.question, sa.func.count().label("leases"))
        .where(lease.expires <= now)
        .group_by(lease.question)
        .subquery()
    )
    leased = entry.leased - sa.func.coalesce(expired.c.leases, 0)
    total = connection.execute(
        sa.select(
            sa.func.count(),
            _sum(sa.case((entry.answered + leased < entry.overlap, 1), else_=0)),
            _sum(leased),
            _sum(entry.answered),
            _sum(sa.case((entry.answered < entry.overlap, entry.overlap - entry.answered), else_=0)),
        )
        .select_from(sa.outerjoin(queue, expired, entry.question == expired.c.question))
        .where(entry.project == project, chosen)
    ).one()
    gone = connection.scalar(
        sa.select(sa.func.count())
        .select_from(sa.join(withdrawals, answers, withdrawals.c.sequence == answers.c.sequence))
        .join(queue, answers.c.question == entry.question)
        .where(answers.c.project == project, chosen)
    )
    asked, open_now, out, answered, wanted = (int(value) for value in total)
    return Counts(questions=asked, open=open_now, leased=out, answers=answered, wanted=wanted, withdrawn=int(gone or 0))


def _sum(value: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(value), 0)
