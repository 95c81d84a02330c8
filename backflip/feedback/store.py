"""The feedback store: where people, simulated judges, imports and trainers meet, and nowhere else.

Questions go in and are leased to labellers; answers come back and get numbers 1, 2, 3.. in the order of commits, so
that a model can say what it was trained on: "answers up to number N, less withdrawals" (`Snapshot`). Nothing that was
answered is ever changed or deleted. Safe for threads, and for many processes on one SQLite file or PostgreSQL database.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import sqlalchemy as sa

from backflip.errors import FeedbackError
from backflip.feedback import queue as waiting
from backflip.feedback.codec import decode_answer, decode_question, encode_answer, encode_question
from backflip.feedback.queue import Counts, Lease
from backflip.feedback.schema import (
    ANSWERED,
    PASSED,
    WITHDRAWN,
    answers,
    labellers,
    lanes,
    questions,
    queue,
    withdrawals,
)
from backflip.feedback.shelves import PAGE, Shelves, next_number, only
from backflip.records import Answer, Labeller, Medium, Question, content_id

__all__ = ["Counts", "Lease", "Numbered", "Snapshot", "Store", "Withdrawal"]


class Numbered(NamedTuple):
    """An answer and its number."""

    sequence: int
    answer: Answer


@dataclass(frozen=True)
class Withdrawal:
    """Answer `sequence` counts no more, from the `number`-th withdrawal on."""

    number: int
    sequence: int
    reason: str
    recorded: float


@dataclass(frozen=True)
class Snapshot:
    """What a model was trained on: answers up to number `up_to`, less `withdrawn` of them. `digest` is of the rest."""

    up_to: int
    withdrawn: int
    answers: int
    digest: str
    project: str | None
    purpose: str | None


class Store(Shelves):
    """One open store. Use it as a context manager, or `close()` it.

    All methods raise FeedbackError when the database fails or refuses, DataError when a record is malformed and
    OutOfSpace when the disk is full. Each is one transaction of its own, or part of the thread's `transaction()`.
    """

    # --- questions

    def add_questions(self, new: Iterable[Question], *, overlap: int = 1, project: str = "default") -> int:
        """Adds questions that each want `overlap` answers; returns how many were new.

        A question that is there already stays one question: its overlap and priority rise if these are higher, and
        never fall. FeedbackError if it belongs to another project.
        """
        if overlap < 1:
            raise FeedbackError(f"overlap is {overlap}; wanted at least 1 answer a question")
        stream, added = iter(new), 0
        with self._database.write() as connection:
            while page := {question.id: question for question in islice(stream, PAGE)}:
                known = self._known(connection, list(page), project=project)
                fresh = {key: question for key, question in page.items() if key not in known}
                self._insert(connection, fresh, overlap=overlap, project=project)
                self._raise(
                    connection, [(number, page[key].priority) for key, number in known.items()], overlap=overlap
                )
                added += len(fresh)
        return added

    def _known(self, connection: sa.Connection, ids: list[str], *, project: str) -> dict[str, int]:
        rows = connection.execute(
            sa.select(questions.c.id, questions.c.number, questions.c.project).where(questions.c.id.in_(ids))
        ).all()
        if elsewhere := [row for row in rows if row.project != project]:
            raise FeedbackError(
                f"question {elsewhere[0].id[:12]} is in project {elsewhere[0].project!r}, so it cannot be added to "
                f"{project!r}; ask it there, or give it another purpose"
            )
        return {row.id: row.number for row in rows}

    def _insert(self, connection: sa.Connection, fresh: Mapping[str, Question], *, overlap: int, project: str) -> None:
        if not fresh:
            return
        first = next_number(connection, questions.c.number)
        rows = [
            {
                "number": number,
                "id": key,
                "project": project,
                "purpose": question.purpose,
                "medium": question.medium,
                "payload": encode_question(question),
                "question": number,
                "priority": question.priority,
                "overlap": overlap,
                "answered": 0,
                "leased": 0,
            }
            for number, (key, question) in enumerate(fresh.items(), start=first)
        ]
        for table in (questions, queue):
            connection.execute(sa.insert(table), [{c.name: row[c.name] for c in table.c} for row in rows])
        known = connection.execute(sa.select(lanes.c.medium, lanes.c.purpose).where(lanes.c.project == project))
        seen = {(question.medium, question.purpose) for question in fresh.values()}
        for medium, purpose in seen - {(row.medium, row.purpose) for row in known}:
            connection.execute(sa.insert(lanes).values(project=project, medium=medium, purpose=purpose))

    def _raise(self, connection: sa.Connection, known: list[tuple[int, float]], *, overlap: int) -> None:
        entry = queue.c
        for number, priority in known:
            lower = sa.or_(entry.overlap < overlap, entry.priority < priority)
            values = {"overlap": _greater(entry.overlap, overlap), "priority": _greater(entry.priority, priority)}
            connection.execute(sa.update(queue).where(entry.question == number, lower).values(values))

    def prioritise(self, priorities: Mapping[str, float]) -> None:
        """Sets the priority of questions by id, up or down; the highest is asked first."""
        with self._database.write() as connection:
            for key, priority in priorities.items():
                self._update_queue(connection, key, priority=priority)

    def retire(self, ids: Iterable[str]) -> None:
        """No more answers are wanted to these questions: nobody gets them any more, what was answered stays."""
        with self._database.write() as connection:
            for key in ids:
                self._update_queue(connection, key, overlap=queue.c.answered)

    def _update_queue(self, connection: sa.Connection, key: str, **values: Any) -> None:
        number = self._question(connection, key).number
        connection.execute(sa.update(queue).where(queue.c.question == number).values(**values))

    def question(self, key: str) -> Question:
        """The question with this id, with its priority of now; FeedbackError if there is none."""
        with self._database.read() as connection:
            row = self._question(connection, key)
        return decode_question(row.payload, priority=row.priority)

    def _question(self, connection: sa.Connection, key: str) -> Any:
        row = connection.execute(_questions().where(questions.c.id == key)).first()
        if row is None:
            raise FeedbackError(f"the store has no question {key[:12]!r}; add it with add_questions first")
        return row

    def questions(self, *, project: str | None = None, purpose: str | None = None) -> Iterator[Question]:
        """All questions in the order of arrival, in constant memory."""
        query = only(_questions(), (questions.c.project, project), (questions.c.purpose, purpose))
        for row in self._pages(query, questions.c.number):
            yield decode_question(row.payload, priority=row.priority)

    def counts(
        self,
        project: str = "default",
        *,
        purpose: str | None = None,
        but: Collection[str] = (),
        now: float | None = None,
    ) -> Counts:
        """How many questions and answers a project has, and how many answers it still wants.

        Of one purpose, or of all `but` some.
        """
        with self._database.read() as connection:
            return waiting.count(connection, project=project, purpose=purpose, but=but, now=self._now(now))

    # --- the queue

    def lease(
        self,
        labeller: Labeller,
        *,
        project: str = "default",
        purpose: str | None = None,
        medium: Medium | None = None,
        seconds: float = 600,
        now: float | None = None,
    ) -> Lease | None:
        """The next question (of one purpose) for this labeller, theirs for `seconds`; None if there is none now."""
        found = self.leases(
            labeller, count=1, project=project, purpose=purpose, medium=medium, seconds=seconds, now=now
        )
        return next(iter(found), None)

    def leases(
        self,
        labeller: Labeller,
        *,
        count: int,
        project: str = "default",
        purpose: str | None = None,
        medium: Medium | None = None,
        but: Collection[str] = (),
        seconds: float = 600,
        now: float | None = None,
    ) -> list[Lease]:
        """The next questions, at most `count`, each a lease of its own: for a page that loads ahead.

        Of one purpose and one medium if these are given, and never of the purposes `but`.
        """
        if count < 1 or seconds <= 0:
            raise FeedbackError(f"asked for {count} leases of {seconds} s; wanted at least 1, longer than 0 s")
        moment = self._now(now)
        self._ensure(labeller)
        with self._database.write(alone=False) as connection:
            return waiting.hand_out(
                connection,
                labeller,
                project=project,
                purpose=purpose,
                medium=medium,
                but=but,
                limit=count,
                now=moment,
                expires=moment + seconds,
            )

    def held(self, labeller: str, *, project: str = "default", now: float | None = None) -> list[Lease]:
        """The leases that this labeller (by id) holds now: what a page shows again after a reload."""
        with self._database.read() as connection:
            return waiting.held(connection, labeller, project=project, now=self._now(now))

    def release(self, lease: Lease, *, now: float | None = None) -> bool:
        """Gives a question back unanswered, to anybody; False if the lease was over already."""
        with self._database.write() as connection:
            waiting.lock_labeller(connection, lease.labeller)
            return waiting.give_back(connection, lease.token, now=self._now(now))

    def pass_on(self, lease: Lease, reason: str) -> None:
        """Gives a question to somebody else ("outside my knowledge"): this labeller never gets it again.

        Raises:
            FeedbackError: the labeller has already answered it.
        """
        with self._database.write() as connection:
            waiting.lock_labeller(connection, lease.labeller)
            number = self._question(connection, lease.question.id).number
            was = waiting.standing(connection, number, lease.labeller)
            if was in (ANSWERED, WITHDRAWN):
                raise FeedbackError(
                    f"labeller {lease.labeller!r} cannot pass on question {lease.question.id[:12]}: it is {was}; "
                    "withdraw the answer instead"
                )
            waiting.settle(connection, number, lease.labeller, was=was, state=PASSED, note=reason)

    def _ensure(self, labeller: Labeller) -> None:
        kind = sa.select(labellers.c.kind).where(labellers.c.id == labeller.id)
        with self._database.read() as connection:
            known = connection.scalar(kind) == labeller.kind
        if not known:
            with self._database.write() as connection:
                self._register(connection, labeller)

    # --- answers

    def answer(self, answer: Answer, *, key: str | None = None) -> int:
        """Stores an answer and returns its number. A lease is not needed, and a late answer is kept: no work is lost.

        `key` makes sending safe to repeat: the same answer sent twice with one key is stored once and has one number.

        Raises:
            DataError: the answer does not fit its question.
            FeedbackError: the question is unknown, this labeller has already answered it (withdraw that first), or
                the key was used for another answer.
        """
        payload = encode_answer(answer)
        with self._database.write() as connection:
            self._register(connection, answer.labeller)
            waiting.lock_labeller(connection, answer.labeller.id)
            if key is not None and (sent := self._sent(connection, answer, key)) is not None:
                return sent
            row = self._question(connection, answer.question)
            answer.check(decode_question(row.payload, priority=row.priority))
            was = waiting.standing(connection, row.number, answer.labeller.id)
            if was == ANSWERED:
                raise FeedbackError(
                    f"labeller {answer.labeller.id!r} has already answered question {answer.question[:12]}; "
                    "withdraw that answer first"
                )
            waiting.settle(connection, row.number, answer.labeller.id, was=was, state=ANSWERED)
            sequence = next_number(connection, answers.c.sequence)
            values = {
                "sequence": sequence,
                "question": row.number,
                "labeller": answer.labeller.id,
                "project": row.project,
                "key": key,
                "digest": content_id(payload),
                "recorded": self._clock(),
                "payload": payload,
            }
            connection.execute(sa.insert(answers).values(values))
        return sequence

    def _sent(self, connection: sa.Connection, answer: Answer, key: str) -> int | None:
        mine = sa.and_(answers.c.labeller == answer.labeller.id, answers.c.key == key)
        row = connection.execute(sa.select(answers.c.sequence, answers.c.payload).where(mine)).first()
        if row is None:
            return None
        stored = decode_answer(row.payload)
        if (stored.question, stored.tiers) != (answer.question, answer.tiers):
            raise FeedbackError(
                f"key {key!r} was used by {answer.labeller.id!r} for another answer, number {row.sequence}; "
                "make a new key for each answer"
            )
        return int(row.sequence)

    def answers(
        self,
        *,
        after: int = 0,
        up_to: int | None = None,
        project: str | None = None,
        purpose: str | None = None,
        labeller: str | None = None,
        include_withdrawn: bool = False,
    ) -> Iterator[Numbered]:
        """Answers with numbers in (after, up_to], in order, less withdrawals, in constant memory."""
        chosen = _answers(answers.c.payload, up_to=up_to, project=project, purpose=purpose)
        query = only(chosen if include_withdrawn else chosen.where(~_is_withdrawn()), (answers.c.labeller, labeller))
        for row in self._pages(query, answers.c.sequence, after=after):
            yield Numbered(row.sequence, decode_answer(row.payload))

    def last_answers(
        self, labeller: str, *, before: int | None = None, limit: int = 100
    ) -> list[tuple[Numbered, bool]]:
        """A labeller's last answers, newest first, each with whether it was withdrawn; `before` a number, to page."""
        query = sa.select(answers.c.sequence, answers.c.payload, _is_withdrawn().label("withdrawn"))
        query = query.where(answers.c.labeller == labeller).order_by(answers.c.sequence.desc()).limit(limit)
        query = query if before is None else query.where(answers.c.sequence < before)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [(Numbered(row.sequence, decode_answer(row.payload)), bool(row.withdrawn)) for row in rows]

    def gave(self, labeller: str, sequences: Collection[int]) -> bool:
        """Whether all these answers (by number) are this labeller's."""
        mine = sa.and_(answers.c.labeller == labeller, answers.c.sequence.in_(set(sequences)))
        with self._database.read() as connection:
            found = connection.scalar(sa.select(sa.func.count()).select_from(answers).where(mine))
        return found == len(set(sequences))

    def last_sequence(self) -> int:
        """The number of the last answer; 0 if there is none."""
        with self._database.read() as connection:
            return next_number(connection, answers.c.sequence) - 1

    def version(self) -> tuple[int, int]:
        """The numbers of the last answer and the last withdrawal: others whenever what counts has changed."""
        with self._database.read() as connection:
            return next_number(connection, answers.c.sequence) - 1, next_number(connection, withdrawals.c.number) - 1

    def withdraw(self, what: int | str, reason: str) -> int:
        """Withdraws one answer by its number, or all answers so far of a labeller by their id; returns how many.

        The answers stay in the store and are left out from now on. Their questions are open again, for other labellers;
        the same labeller is not asked again, but may answer again.

        Raises:
            FeedbackError: no answer has this number, or no labeller this id.
        """
        table, known = (answers, answers.c.sequence) if isinstance(what, int) else (labellers, labellers.c.id)
        whose = answers.c.sequence if isinstance(what, int) else answers.c.labeller
        with self._database.write() as connection:
            if connection.execute(sa.select(known).where(known == what)).first() is None:
                raise FeedbackError(f"the store has no {table.name[:-1]} {what!r} to withdraw")
            query = sa.select(answers.c.sequence, answers.c.question, answers.c.labeller).where(whose == what)
            rows = connection.execute(query.where(~_is_withdrawn()).order_by(answers.c.sequence)).all()
            for row in rows:
                waiting.lock_labeller(connection, row.labeller)
                waiting.settle(connection, row.question, row.labeller, was=ANSWERED, state=WITHDRAWN)
            self._record_withdrawals(connection, [row.sequence for row in rows], reason)
        return len(rows)

    def take_back(self, sequence: int, labeller: str, *, seconds: float = 600, now: float | None = None) -> Lease:
        """Withdraws a labeller's own answer and leases its question to them again: they pressed the wrong key.

        Taking it back twice gives the same lease.

        Raises:
            FeedbackError: this labeller gave no answer of this number, or has answered the question again since.
        """
        moment = self._now(now)
        with self._database.write() as connection:
            waiting.lock_labeller(connection, labeller)
            mine = sa.and_(answers.c.sequence == sequence, answers.c.labeller == labeller)
            row = connection.execute(
                sa.select(answers.c.question, _is_withdrawn().label("withdrawn")).where(mine)
            ).first()
            was = None if row is None else waiting.standing(connection, row.question, labeller)
            if row is None or was is None or (was == ANSWERED) == row.withdrawn:
                raise FeedbackError(
                    f"{labeller!r} has no answer {sequence} to take back; undo the last one that stands"
                )
            if not row.withdrawn:
                waiting.settle(connection, row.question, labeller, was=was, state=WITHDRAWN)
                self._record_withdrawals(connection, [sequence], "undo")
                was = WITHDRAWN
            return waiting.lease_again(connection, row.question, labeller, was=was, expires=moment + seconds)

    def _record_withdrawals(self, connection: sa.Connection, sequences: list[int], reason: str) -> None:
        first, now = next_number(connection, withdrawals.c.number), self._clock()
        records = [
            {"number": number, "sequence": sequence, "reason": reason, "recorded": now}
            for number, sequence in enumerate(sequences, start=first)
        ]
        if records:
            connection.execute(sa.insert(withdrawals), records)

    def withdrawals(self) -> Iterator[Withdrawal]:
        """All withdrawals, in order."""
        for row in self._pages(sa.select(withdrawals), withdrawals.c.number):
            yield Withdrawal(row.number, row.sequence, row.reason, row.recorded)

    def snapshot(self, *, up_to: int | None = None, project: str | None = None, purpose: str | None = None) -> Snapshot:
        """The answers of now (or up to a number), in a form small enough for a model's lineage.

        Two digests are equal if and only if the same answers, word for word, were trained on.
        """
        query = _answers(answers.c.digest, up_to=up_to, project=project, purpose=purpose)
        query = query.add_columns(_is_withdrawn().label("withdrawn")).order_by(answers.c.sequence)
        digest, used, withdrawn = hashlib.sha256(), 0, 0
        with self._database.read() as connection:
            last = next_number(connection, answers.c.sequence) - 1 if up_to is None else up_to
            for row in connection.execute(query.where(answers.c.sequence <= last)):
                withdrawn += bool(row.withdrawn)
                if not row.withdrawn:
                    used += 1
                    digest.update(f"{row.sequence} {row.digest}\n".encode())
        return Snapshot(last, withdrawn, used, digest.hexdigest(), project, purpose)


def _greater(column: sa.Column[Any], value: float) -> sa.ColumnElement[Any]:
    return sa.case((column < value, value), else_=column)


def _questions() -> sa.Select[Any]:
    return sa.select(questions, queue.c.priority).join_from(questions, queue, questions.c.number == queue.c.question)


def _answers(*columns: sa.Column[Any], up_to: int | None, project: str | None, purpose: str | None) -> sa.Select[Any]:
    query = sa.select(answers.c.sequence, *columns)
    query = query if up_to is None else query.where(answers.c.sequence <= up_to)
    if purpose is not None:
        query = query.join(questions, questions.c.number == answers.c.question)
    return only(query, (answers.c.project, project), (questions.c.purpose, purpose))


def _is_withdrawn() -> sa.Exists:
    return sa.exists().where(withdrawals.c.sequence == answers.c.sequence)
