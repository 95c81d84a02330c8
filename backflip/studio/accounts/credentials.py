"""Sessions of browsers and tokens of scripts: long random words, of which the store keeps only the hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from backflip.feedback.database import Database
from backflip.feedback.schema import labellers, people, sessions, tokens
from backflip.feedback.schema import secrets as kept
from backflip.studio.accounts.people import user_columns, user_from
from backflip.studio.users import User

__all__ = ["Credentials", "Token", "digest", "secret_of"]

_BYTES = 32


@dataclass(frozen=True)
class Token:
    """A script's token as its owner sees it; `id` tells it from others and opens nothing."""

    id: str
    label: str
    created: float


def digest(word: str) -> str:
    """What is kept of a random word: who reads the database cannot sign in with it."""
    return hashlib.sha256(word.encode()).hexdigest()


def secret_of(database: Database, name: str) -> str:
    """The store's own secret of this name, made when it is first asked for."""
    query = sa.select(kept.c.value).where(kept.c.name == name)
    with database.read() as connection:
        if value := connection.scalar(query):
            return str(value)
    with database.write() as connection:
        if value := connection.scalar(query):  # another process was faster
            return str(value)
        made = secrets.token_urlsafe(_BYTES)
        connection.execute(sa.insert(kept).values(name=name, value=made))
    return made


class Credentials:
    """The sessions and tokens of a store."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def open_session(self, person: str, seconds: float) -> str:
        """A new session; what is returned is known to nobody else."""
        word, expires = secrets.token_urlsafe(_BYTES), self._clock() + seconds
        with self._database.write() as connection:
            connection.execute(sa.insert(sessions).values(digest=digest(word), person=person, expires=expires))
        return word

    def forget_old_sessions(self) -> None:
        """Those that are over are of no use to anybody."""
        self._delete(sessions, sessions.c.expires <= self._clock())

    def user_of_session(self, word: str) -> User | None:
        """Who the session is of; None if it is over."""
        return self._user(sessions, sa.and_(sessions.c.digest == digest(word), sessions.c.expires > self._clock()))

    def close_session(self, word: str) -> None:
        """Ends one session."""
        self._delete(sessions, sessions.c.digest == digest(word))

    def close_sessions(self, person: str) -> None:
        """Ends all sessions of a person."""
        self._delete(sessions, sessions.c.person == person)

    def make_token(self, person: str, label: str) -> str:
        """A new token for a script; it is shown once, here."""
        word = f"bf_{secrets.token_urlsafe(_BYTES)}"
        row = {"digest": digest(word), "person": person, "label": label, "created": self._clock()}
        with self._database.write() as connection:
            connection.execute(sa.insert(tokens).values(**row))
        return word

    def user_of_token(self, word: str) -> User | None:
        """Who the token is of; None if it is unknown or was revoked."""
        return self._user(tokens, tokens.c.digest == digest(word))

    def tokens(self, person: str) -> list[Token]:
        """A person's tokens, oldest first."""
        query = sa.select(tokens).where(tokens.c.person == person).order_by(tokens.c.created)
        with self._database.read() as connection:
            return [Token(row.digest[:16], row.label, row.created) for row in connection.execute(query)]

    def revoke_token(self, person: str, token: str) -> bool:
        """Revokes a person's token by its id; False if there is none."""
        return self._delete(tokens, sa.and_(tokens.c.person == person, sa.func.substr(tokens.c.digest, 1, 16) == token))

    def revoke_tokens(self, person: str) -> None:
        """Revokes all tokens of a person."""
        self._delete(tokens, tokens.c.person == person)

    def _user(self, table: sa.Table, condition: sa.ColumnElement[bool]) -> User | None:
        query = (
            sa.select(*user_columns())
            .join_from(table, people, table.c.person == people.c.id)
            .join(labellers, labellers.c.id == people.c.id)
            .where(condition, people.c.active == 1)
        )
        with self._database.read() as connection:
            row: Any = connection.execute(query).first()
        return None if row is None else user_from(row)

    def _delete(self, table: sa.Table, condition: sa.ColumnElement[bool]) -> bool:
        with self._database.write() as connection:
            return connection.execute(sa.delete(table).where(condition)).rowcount > 0
