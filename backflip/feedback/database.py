"""One SQLite file or PostgreSQL database: connections, transactions, and errors that say what to do.

SQLite has one writer at a time. Every write begins IMMEDIATE, so that no reader has to become a writer half-way (which
is how two processes deadlock), and threads of one process queue at a lock instead of polling the file. On PostgreSQL
an advisory lock gives the same order to all writes but leases, which lock single rows.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError

from backflip.errors import BackflipError, DataError, DependencyError, FeedbackError, OutOfSpace

__all__ = ["Database"]

_BUSY_SECONDS = 30
_SHARED = 1 << 16  # bytes; SQLite's file that processes share takes half of it, and without it says "I/O error" alone
_WRITER = 0xBAC4F11B  # PostgreSQL's advisory lock of the one writer


class Database:
    """A pool of connections. `read()` and `write()` join the thread's open `write()`, as a savepoint if they write."""

    def __init__(self, engine: sa.Engine) -> None:
        self.place = engine.url.render_as_string(hide_password=True)
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._writer = threading.Lock()
        self._thread = threading.local()

    @classmethod
    def open(cls, url_or_path: str | Path) -> Database:
        """A path (or sqlite:///path) or a postgresql:// URL. Makes the folder of a file that does not exist yet.

        Raises:
            FeedbackError: the URL is not one of these, or nothing answers there.
            DependencyError: a PostgreSQL URL, and psycopg is not installed.
        """
        url = _url(url_or_path)
        try:
            engine = sa.create_engine(url, **_options(url))
        except ImportError as error:
            raise DependencyError(
                "a PostgreSQL store needs psycopg 3; install it with: pip install 'backflip[postgresql]'"
            ) from error
        if engine.dialect.name == "sqlite":
            sa.event.listen(engine, "connect", _prepare)
            sa.event.listen(engine, "begin", _begin)
        return cls(engine)

    def close(self) -> None:
        """Closes all idle connections; the database opens again when it is used again."""
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A consistent view (SQLite: of one moment; PostgreSQL: of one moment a statement)."""
        if (joined := self._joined()) is not None:
            yield joined
            return
        with self._explained(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, *, alone: bool = True, whole: bool = False) -> Iterator[sa.Connection]:
        """One transaction, undone if the block raises. `alone=False` lets others write meanwhile (PostgreSQL).

        `whole`: what is refused in the block undoes all of it, so that its parts need no savepoints of their own.
        """
        if (joined := self._joined()) is not None:
            with self._explained(), nullcontext() if self._thread.whole else joined.begin_nested():
                yield joined
            return
        engine = self._engine.execution_options(backflip_write=True)
        queue = self._writer if self._is_sqlite else nullcontext()
        with self._explained(), queue, engine.connect() as connection, connection.begin():
            if alone and not self._is_sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER)))
            self._thread.connection, self._thread.whole = connection, whole
            try:
                yield connection
            finally:
                self._thread.connection = None

    def _joined(self) -> sa.Connection | None:
        return getattr(self._thread, "connection", None)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise _explain(error, self.place) from error


def _url(url_or_path: str | Path) -> sa.URL:
    text, wanted = str(url_or_path), "wanted a path, sqlite:///PATH or postgresql://HOST/NAME"
    if "://" not in text:
        url = sa.URL.create("sqlite", database=text)
    else:
        try:
            url = sa.make_url(text)
        except ArgumentError as error:
            raise FeedbackError(f"store URL is {text!r}; {wanted}") from error
    backend = url.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise FeedbackError(f"store URL is of kind {backend!r}; {wanted}")
    if url.database in (None, "", ":memory:"):
        raise FeedbackError("a store in memory would be lost with its connection; give the path of a file")
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    return url


def _options(url: sa.URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": _BUSY_SECONDS}, "pool_size": 8, "max_overflow": -1}
    return {"isolation_level": "READ COMMITTED", "pool_size": 8, "max_overflow": 24, "pool_pre_ping": True}


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    cursor = connection.cursor()
    _into_wal(cursor)
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=FULL")  # an answer that was acknowledged survives a loss of power
    cursor.close()


def _into_wal(cursor: Any) -> None:
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:  # SQLite does not wait by itself when two processes turn a new file to WAL at once
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("backflip_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _explain(error: DBAPIError, place: str) -> BackflipError:
    said = " ".join(str(error.orig).split())
    full = "disk is full" in said or getattr(error.orig, "sqlstate", None) == "53100"
    if full or ("disk I/O error" in said and _free(place) < _SHARED):
        return OutOfSpace(f"no space is left for the store {place}; nothing of this was stored; free some and go on")
    if "not a database" in said or "malformed" in said:
        return DataError(f"{place} is not a Backflip store or is damaged ({said}); give another path or restore a copy")
    if "locked" in said:
        return FeedbackError(f"another process held the store {place} over {_BUSY_SECONDS} s; wait for it, or end it")
    return FeedbackError(f"the store {place} failed: {said}; see that it can be reached and written, then try again")


def _free(place: str) -> int:
    """Bytes that are free where a file of SQLite lies."""
    return shutil.disk_usage(Path(place.removeprefix("sqlite:///")).parent).free
