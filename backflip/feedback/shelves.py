"""What a store keeps besides questions and answers: labellers, demonstrations and prompt sets.

`Shelves` is the lower half of `backflip.feedback.store.Store`, which is the class to open.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from backflip.errors import DataError, FeedbackError
from backflip.feedback.codec import decode_demonstration, decode_prompt, dump, encode_demonstration, encode_prompt
from backflip.feedback.database import Database
from backflip.feedback.migrations import migrate
from backflip.feedback.schema import demonstrations, labellers, prompts
from backflip.records import Demonstration, Labeller, LabellerKind, Prompt

__all__ = ["PAGE", "Shelves", "next_number", "only"]

PAGE = 500  # rows a look when many are read or written


class Shelves:
    """One open database with labellers, demonstrations and prompts, its transactions and its clock (seconds)."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    @classmethod
    def open(cls, url_or_path: str | Path, *, clock: Callable[[], float] = time.time) -> Self:
        """Opens or makes the store at a path or postgresql:// URL, and migrates it to this version.

        Raises:
            FeedbackError: it was written by a newer Backflip, or cannot be reached.
            DependencyError: a PostgreSQL URL, and psycopg is not installed.
        """
        database = Database.open(url_or_path)
        try:
            migrate(database)
        except BaseException:
            database.close()
            raise
        return cls(database, clock=clock)

    @classmethod
    def existing(cls, url_or_path: str | Path) -> Self:
        """As `open`, for those who read: makes nothing, and raises DataError where there is no such file."""
        path = str(url_or_path).removeprefix("sqlite:///")
        if "://" not in path and not Path(path).is_file():
            raise DataError(
                f"there is no store at {url_or_path}; wanted one that was filled: check the path of --store, or fill "
                "one first (backflip data --help, or backflip demo)"
            )
        return cls.open(url_or_path)

    @property
    def database(self) -> Database:
        """For modules that keep tables of their own in the same transactions."""
        return self._database

    def close(self) -> None:
        """Closes the connections."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self, *, whole: bool = False) -> Iterator[Self]:
        """All or nothing: what this thread does in the block is kept together at its end, or undone if it raises.

        A part that is refused may be passed over in the block; not so with `whole`, which is faster.
        """
        with self._database.write(whole=whole):
            yield self

    # --- labellers

    def add_labeller(self, labeller: Labeller) -> None:
        """Adds a labeller, or replaces the groups of a known one; FeedbackError if the kind is another."""
        with self._database.write() as connection:
            self._register(connection, labeller)
            known = labellers.c.id == labeller.id
            connection.execute(sa.update(labellers).where(known).values(groups=dump(dict(labeller.groups))))

    def labellers(self, *, kind: LabellerKind | None = None) -> list[Labeller]:
        """All labellers with their groups of now, by id."""
        query = sa.select(labellers).order_by(labellers.c.id)
        with self._database.read() as connection:
            rows = connection.execute(query if kind is None else query.where(labellers.c.kind == kind)).all()
        return [Labeller(row.id, row.kind, json.loads(row.groups)) for row in rows]

    def _register(self, connection: sa.Connection, labeller: Labeller) -> None:
        kind = connection.scalar(sa.select(labellers.c.kind).where(labellers.c.id == labeller.id))
        if kind is None:
            row = {"id": labeller.id, "kind": labeller.kind, "groups": dump(dict(labeller.groups))}
            connection.execute(sa.insert(labellers).values(row))
        elif kind != labeller.kind:
            raise FeedbackError(
                f"labeller {labeller.id!r} is known as {kind!r}, not {labeller.kind!r}; give the other one another id"
            )

    # --- demonstrations and prompts

    def add_demonstrations(self, new: Iterable[Demonstration], *, project: str = "default") -> int:
        """Adds demonstrations; returns how many were new (the same prompt and answer is one).

        One that was withdrawn counts again.
        """
        added = 0
        with self._database.write() as connection:
            number = next_number(connection, demonstrations.c.number)
            for demonstration in new:
                self._register(connection, demonstration.author)
                row = {"id": demonstration.id, "project": project, "payload": encode_demonstration(demonstration)}
                known = demonstrations.c.id == demonstration.id
                if connection.scalar(sa.select(demonstrations.c.number).where(known)) is None:
                    connection.execute(sa.insert(demonstrations).values(number=number + added, **row))
                    added += 1
                else:
                    connection.execute(sa.update(demonstrations).where(known).values(withdrawn=None))
        return added

    def withdraw_demonstration(self, key: str) -> bool:
        """One demonstration (by id) counts no more; False if it did not anyway."""
        there = sa.and_(demonstrations.c.id == key, demonstrations.c.withdrawn.is_(None))
        with self._database.write() as connection:
            return (
                connection.execute(sa.update(demonstrations).where(there).values(withdrawn=self._clock())).rowcount > 0
            )

    def demonstrations(self, *, project: str | None = None) -> Iterator[Demonstration]:
        """All demonstrations in the order of arrival, less those that were withdrawn."""
        standing = sa.select(demonstrations).where(demonstrations.c.withdrawn.is_(None))
        query = only(standing, (demonstrations.c.project, project))
        for row in self._pages(query, demonstrations.c.number):
            yield decode_demonstration(row.payload)

    def add_prompts(self, new: Iterable[Prompt], *, name: str, split: str = "train") -> int:
        """Adds prompts to one split of the prompt set `name`; returns how many were new.

        Raises:
            DataError: a prompt is already in another split of the set, so training would see what tests it.
        """
        added = 0
        with self._database.write() as connection:
            number = next_number(connection, prompts.c.number)
            for prompt in new:
                row = {"name": name, "split": split, "id": prompt.id, "payload": encode_prompt(prompt)}
                known = sa.select(prompts.c.split).where(prompts.c.name == name, prompts.c.id == prompt.id)
                found = connection.scalar(known)
                if found is None:
                    connection.execute(sa.insert(prompts).values(number=number + added, **row))
                    added += 1
                elif found != split:
                    raise DataError(
                        f"prompt {prompt.id[:12]} is in split {found!r} of {name!r}; drop it from {split!r}"
                    )
        return added

    def remove_prompts(self, *, name: str, user: str) -> int:
        """Takes all prompts of one user out of the set `name`, who withdrew them; returns how many there were."""
        with self._database.write() as connection:
            rows = connection.execute(sa.select(prompts).where(prompts.c.name == name)).all()
            gone = [row.number for row in rows if decode_prompt(row.payload).user == user]
            for number in gone:
                connection.execute(sa.delete(prompts).where(prompts.c.number == number))
        return len(gone)

    def prompts(self, *, name: str, split: str | None = None) -> Iterator[Prompt]:
        """The prompts of a set, or of one split of it, in the order of arrival."""
        query = only(sa.select(prompts), (prompts.c.name, name), (prompts.c.split, split))
        for row in self._pages(query, prompts.c.number):
            yield decode_prompt(row.payload)

    def some_prompts(self, *, name: str, split: str, limit: int | None = None) -> list[Prompt]:
        """The (first `limit`) prompts of a split; DataError where it has none, for nothing can be done without."""
        found = list(islice(self.prompts(name=name, split=split), limit))
        if not found:
            raise DataError(
                f"prompt set {name!r} in {self._database.place} has no prompts in split {split!r}; "
                "add some (`backflip data prompts`), or name another set or split"
            )
        return found

    def _now(self, now: float | None) -> float:
        return self._clock() if now is None else now

    def _pages(self, query: sa.Select[Any], number: sa.Column[int], *, after: int = 0) -> Iterator[sa.Row[Any]]:
        """Rows by their number, a page a look: no transaction stays open while the caller works."""
        while True:
            page = query.where(number > after).order_by(number).limit(PAGE)
            with self._database.read() as connection:
                rows = connection.execute(page).all()
            yield from rows
            if len(rows) < PAGE:
                return
            after = getattr(rows[-1], number.name)


def next_number(connection: sa.Connection, number: sa.Column[int]) -> int:
    """The highest number in use, plus one."""
    # Rows are never deleted and writers come one at a time, so the highest number is the count.
    return int(connection.scalar(sa.select(sa.func.coalesce(sa.func.max(number), 0))) or 0) + 1


def only(query: sa.Select[Any], *wanted: tuple[sa.Column[Any], Any]) -> sa.Select[Any]:
    """The query, held to the columns whose wanted value is not None."""
    for column, value in wanted:
        query = query if value is None else query.where(column == value)
    return query
