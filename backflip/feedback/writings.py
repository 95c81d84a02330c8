"""Demonstrations as labellers write them: submitted, accepted or returned with a note, edited, withdrawn.

What is accepted stands among the store's demonstrations, which is all that SFT sees.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from backflip.errors import FeedbackError
from backflip.feedback.codec import decode_demonstration, decode_prompt, encode_demonstration
from backflip.feedback.projects import Project
from backflip.feedback.schema import prompts, writings
from backflip.feedback.shelves import Shelves, next_number, only
from backflip.records import Demonstration, Prompt, content_id

__all__ = ["Writing", "WritingState", "Writings"]

WritingState = Literal["submitted", "accepted", "returned", "withdrawn"]
_NEAR = 20  # unwritten prompts among which labellers who ask at once are spread


@dataclass(frozen=True)
class Writing:
    """A demonstration on its way; `note` is what the reviewer said."""

    number: int
    project: str
    demonstration: Demonstration
    state: WritingState
    note: str
    reviewer: str
    recorded: float


class Writings:
    """The writings of a store."""

    def __init__(self, store: Shelves, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock
        self._database = store.database

    def next_prompt(self, project: Project, author: str, *, skip: Collection[str] = ()) -> Prompt | None:
        """A prompt of the project's set (its training split) that nobody has written to; None if all are written to."""
        mine = sa.and_(writings.c.prompt == prompts.c.id, writings.c.project == project.name)
        written = sa.exists().where(mine, writings.c.state != "withdrawn")
        query = sa.select(prompts.c.id, prompts.c.payload).where(
            prompts.c.name == project.prompt_set, prompts.c.split == "train", prompts.c.id.not_in(skip), ~written
        )
        with self._database.read() as connection:
            near = connection.execute(query.order_by(prompts.c.number).limit(_NEAR)).all()
        chosen = min(near, key=lambda row: content_id("write", author, row.id), default=None)
        return None if chosen is None else decode_prompt(chosen.payload)

    def known_prompt(self, project: Project, prompt: Prompt) -> Prompt | None:
        """The prompt of the project's set with the same content, which knows its user and source."""
        same = sa.and_(prompts.c.name == project.prompt_set, prompts.c.id == prompt.id)
        with self._database.read() as connection:
            payload = connection.scalar(sa.select(prompts.c.payload).where(same))
        return None if payload is None else decode_prompt(payload)

    def submit(self, project: Project, new: Demonstration, *, key: str) -> Writing:
        """Keeps a new demonstration; the same `key` again gives the same one. Without review it is accepted at once."""
        with self._database.write() as connection:
            sent = sa.and_(writings.c.author == new.author.id, writings.c.key == key)
            if (before := connection.execute(sa.select(writings).where(sent)).first()) is not None:
                return _from(before)
            self._store.add_labeller(new.author)
            number = next_number(connection, writings.c.number)
            row = {"number": number, "project": project.name, "author": new.author.id, "key": key}
            row |= {"state": "submitted", "note": "", "reviewer": ""} | self._content(new)
            connection.execute(sa.insert(writings).values(**row))
            if not project.review:
                self._accept(connection, number, project.name, new)
            return self._one(connection, number)

    def edit(self, project: Project, number: int, new: Demonstration) -> Writing:
        """Replaces an own demonstration; with review it is submitted anew, and counts again when it is accepted."""
        with self._database.write() as connection:
            old = self._own(connection, project, number, new.author.id)
            if old.demonstration.prompt.id != new.prompt.id:
                raise FeedbackError(f"writing {number} is to another prompt; write a new one to this prompt")
            self._take_out(connection, old)
            self._set(connection, number, state="submitted", **self._content(new))
            if not project.review:
                self._accept(connection, number, project.name, new)
            return self._one(connection, number)

    def withdraw(self, project: Project, number: int, author: str) -> Writing:
        """An own demonstration counts no more."""
        with self._database.write() as connection:
            self._take_out(connection, self._own(connection, project, number, author))
            self._set(connection, number, state="withdrawn")
            return self._one(connection, number)

    def review(
        self, project: Project, number: int, verdict: Literal["accepted", "returned"], *, reviewer: str, note: str = ""
    ) -> Writing:
        """Accepts a demonstration, or returns it to its author with a note."""
        with self._database.write() as connection:
            old = self._one(connection, number)
            if old.project != project.name or old.state == "withdrawn":
                raise FeedbackError(
                    f"project {project.name!r} has no writing {number} to review; look at the list again"
                )
            if verdict == "accepted":
                self._accept(connection, number, project.name, old.demonstration)
            else:
                self._take_out(connection, old)
            self._set(connection, number, state=verdict, reviewer=reviewer, note=note)
            return self._one(connection, number)

    def own(self, project: Project, number: int, author: str) -> Writing:
        """A writing of this author that was not withdrawn; FeedbackError if there is none."""
        with self._database.read() as connection:
            return self._own(connection, project, number, author)

    def all(
        self, project: Project, *, author: str | None = None, state: WritingState | None = None, limit: int = 100
    ) -> list[Writing]:
        """The last writings (of one author, in one state), newest first."""
        query = sa.select(writings).where(writings.c.project == project.name).order_by(writings.c.number.desc())
        query = only(query, (writings.c.author, author), (writings.c.state, state))
        with self._database.read() as connection:
            return [_from(row) for row in connection.execute(query.limit(limit))]

    def _own(self, connection: sa.Connection, project: Project, number: int, author: str) -> Writing:
        found = self._one(connection, number)
        if found.project != project.name or found.demonstration.author.id != author or found.state == "withdrawn":
            raise FeedbackError(f"{author!r} has no writing {number} here; look at the list again")
        return found

    def _one(self, connection: sa.Connection, number: int) -> Writing:
        row = connection.execute(sa.select(writings).where(writings.c.number == number)).first()
        if row is None:
            raise FeedbackError(f"there is no writing {number}; look at the list again")
        return _from(row)

    def _accept(self, connection: sa.Connection, number: int, project: str, new: Demonstration) -> None:
        self._store.add_demonstrations([new], project=project)
        self._set(connection, number, state="accepted")

    def _take_out(self, connection: sa.Connection, old: Writing) -> None:
        # Two people may have written the same: it goes when the last of them takes it back.
        same = sa.and_(writings.c.demonstration == old.demonstration.id, writings.c.number != old.number)
        query = sa.select(writings.c.number).where(same, writings.c.state == "accepted").limit(1)
        if old.state == "accepted" and connection.scalar(query) is None:
            self._store.withdraw_demonstration(old.demonstration.id)

    def _set(self, connection: sa.Connection, number: int, **values: Any) -> None:
        connection.execute(sa.update(writings).where(writings.c.number == number).values(**values))

    def _content(self, new: Demonstration) -> dict[str, Any]:
        ids = {"prompt": new.prompt.id, "demonstration": new.id}
        return ids | {"recorded": self._clock(), "payload": encode_demonstration(new)}


def _from(row: Any) -> Writing:
    demonstration = decode_demonstration(row.payload)
    return Writing(row.number, row.project, demonstration, row.state, row.note, row.reviewer, row.recorded)
