"""Invitations: a link that makes one account, with a role and perhaps a project, until it expires."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from backflip.feedback.database import Database
from backflip.feedback.schema import invitations
from backflip.studio.accounts.credentials import digest
from backflip.studio.refusals import NotFound
from backflip.studio.users import Role

__all__ = ["Invitation", "Invitations"]


@dataclass(frozen=True)
class Invitation:
    """An invitation as an admin sees it; `id` tells it from others and opens nothing."""

    id: str
    role: Role
    project: str
    note: str
    inviter: str
    expires: float
    used: str | None


class Invitations:
    """The invitations of a store."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def make(self, *, role: Role, inviter: str, project: str = "", note: str = "", hours: float = 72) -> str:
        """A new invitation; the word of its link is shown once, here."""
        word = secrets.token_urlsafe(32)
        row = {"digest": digest(word), "role": role, "project": project, "note": note, "inviter": inviter}
        with self._database.write() as connection:
            connection.execute(sa.insert(invitations).values(**row, expires=self._clock() + hours * 3600, used=None))
        return word

    def open(self, word: str) -> Invitation:
        """The invitation of a link, if it can still be used; NotFound says no more than that it cannot."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(invitations).where(self._usable(word))).first()
        if row is None:
            raise NotFound("this invitation was used, has expired, or never was: ask for a new one")
        return _from(row)

    def use(self, word: str, person: str) -> None:
        """Marks an invitation as used; call it in the transaction that makes the account."""
        used = sa.update(invitations).where(self._usable(word)).values(used=person)
        with self._database.write() as connection:
            if not connection.execute(used).rowcount:
                raise NotFound("this invitation was used meanwhile: ask for a new one")

    def all(self) -> list[Invitation]:
        """All invitations, those that expire last first."""
        query = sa.select(invitations).order_by(invitations.c.expires.desc(), invitations.c.digest)
        with self._database.read() as connection:
            return [_from(row) for row in connection.execute(query)]

    def withdraw(self, key: str) -> None:
        """Withdraws an unused invitation by its id."""
        unused = sa.and_(sa.func.substr(invitations.c.digest, 1, 16) == key, invitations.c.used.is_(None))
        with self._database.write() as connection:
            if not connection.execute(sa.delete(invitations).where(unused)).rowcount:
                raise NotFound("there is no such invitation that is still unused")

    def _usable(self, word: str) -> sa.ColumnElement[bool]:
        fresh = sa.and_(invitations.c.used.is_(None), invitations.c.expires > self._clock())
        return sa.and_(invitations.c.digest == digest(word), fresh)


def _from(row: sa.Row[tuple[object, ...]]) -> Invitation:
    return Invitation(row.digest[:16], row.role, row.project, row.note, row.inviter, row.expires, row.used)
