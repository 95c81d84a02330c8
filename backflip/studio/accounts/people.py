"""The people of a studio: their roles, their projects, and what they say of themselves."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from backflip.feedback.schema import labellers, memberships, people
from backflip.feedback.store import Store
from backflip.records import Labeller, LabellerKind
from backflip.studio.refusals import Conflict, NotFound, Refusal
from backflip.studio.users import Role, User

__all__ = ["LOCAL", "Member", "People", "canonical_name", "user_columns", "user_from"]

LOCAL = "local"  # who uses a studio without accounts
_NAME = re.compile(r"\w[\w.@+-]{0,63}")


@dataclass(frozen=True)
class Member:
    """A person as an admin sees them; `projects` say whether they passed the qualification (None: not yet known)."""

    user: User
    active: bool
    created: float
    projects: dict[str, bool | None]


def canonical_name(typed: str) -> str:
    """The form of a name that is kept: "  Ann " and "ann" are one person. Refuses what cannot be a name."""
    name = unicodedata.normalize("NFKC", typed).strip().casefold()
    if not _NAME.fullmatch(name):
        raise Refusal(f"name is {typed[:80]!r}; wanted 1 to 64 letters, digits, or any of _ . @ + -")
    return name


class People:
    """The people of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._database = store.database

    def add(
        self,
        name: str,
        *,
        role: Role,
        now: float,
        password: str = "",
        kind: LabellerKind = "person",
        language: str = "",
    ) -> User:
        """Adds a person; `password` is already hashed, and empty for one who cannot sign in by it."""
        with self._database.write() as connection:
            if connection.scalar(sa.select(people.c.id).where(people.c.id == name)) is not None:
                raise Conflict(f"the name {name!r} is taken: choose another one")
            known = connection.scalar(sa.select(labellers.c.kind).where(labellers.c.id == name))
            if known is None:
                self._store.add_labeller(Labeller(name, kind))
            elif known != kind:
                raise Conflict(f"the name {name!r} is taken by a {known} labeller: choose another one")
            row = {"password": password, "language": language, "active": 1, "created": now}
            connection.execute(sa.insert(people).values(id=name, role=role, **row))
        return User(name, name, role, kind, language=language)

    def find(self, name: str) -> User:
        """An active person; NotFound if there is none."""
        with self._database.read() as connection:
            row = connection.execute(_users().where(people.c.id == name, people.c.active == 1)).first()
        if row is None:
            raise NotFound(f"there is no person {name[:80]!r} here")
        return user_from(row)

    def password(self, name: str) -> str | None:
        """The hash of an active person's password; None if there is none."""
        query = sa.select(people.c.password).where(people.c.id == name, people.c.active == 1)
        with self._database.read() as connection:
            return connection.scalar(query) or None

    def change(self, name: str, **values: Any) -> None:
        """Sets columns of a person: role, password (hashed), language, active."""
        with self._database.write() as connection:
            if not connection.execute(sa.update(people).where(people.c.id == name).values(**values)).rowcount:
                raise NotFound(f"there is no person {name[:80]!r} here")

    def describe(self, user: User, groups: dict[str, str]) -> None:
        """Sets what a labeller says of themselves; answers keep what was said when they were given."""
        self._store.add_labeller(Labeller(user.id, user.kind, groups))

    def all(self) -> list[Member]:
        """Everybody, by name, with their projects."""
        with self._database.read() as connection:
            rows = connection.execute(_users().order_by(people.c.id)).all()
            joined: dict[str, dict[str, bool | None]] = {}
            for row in connection.execute(sa.select(memberships).order_by(memberships.c.project)):
                passed = None if row.qualified is None else bool(row.qualified)
                joined.setdefault(row.person, {})[row.project] = passed
        return [Member(user_from(row), bool(row.active), row.created, joined.get(row.id, {})) for row in rows]

    def admins(self) -> int:
        """How many active admins can sign in."""
        able = sa.and_(people.c.role == "admin", people.c.active == 1, people.c.password != "")
        with self._database.read() as connection:
            return int(connection.scalar(sa.select(sa.func.count()).select_from(people).where(able)) or 0)

    # --- memberships

    def join(self, name: str, project: str) -> None:
        """Lets a person into a project."""
        with self._database.write() as connection:
            mine = sa.and_(memberships.c.person == name, memberships.c.project == project)
            if connection.scalar(sa.select(memberships.c.person).where(mine)) is None:
                connection.execute(sa.insert(memberships).values(person=name, project=project, qualified=None))

    def leave(self, name: str, project: str) -> None:
        """Takes a person out of a project; their answers stay."""
        mine = sa.and_(memberships.c.person == name, memberships.c.project == project)
        with self._database.write() as connection:
            connection.execute(sa.delete(memberships).where(mine))

    def projects(self, name: str) -> dict[str, bool | None]:
        """The projects of a person, and whether they passed the qualification."""
        query = sa.select(memberships.c.project, memberships.c.qualified).where(memberships.c.person == name)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(memberships.c.project)).all()
        return {row.project: None if row.qualified is None else bool(row.qualified) for row in rows}

    def qualify(self, name: str, project: str, passed: bool | None) -> None:
        """Writes how the qualification ended; None: it is open again."""
        mine = sa.and_(memberships.c.person == name, memberships.c.project == project)
        value = None if passed is None else int(passed)
        with self._database.write() as connection:
            connection.execute(sa.update(memberships).where(mine).values(qualified=value))


def user_columns() -> list[sa.Column[Any]]:
    """What `user_from` wants of a row of people joined with labellers."""
    return [people.c.id, people.c.role, people.c.language, labellers.c.kind, labellers.c.groups]


def user_from(row: Any) -> User:
    """A user from a row."""
    return User(row.id, row.id, row.role, row.kind, json.loads(row.groups), row.language)


def _users() -> sa.Select[Any]:
    columns = (*user_columns(), people.c.active, people.c.created)
    return sa.select(*columns).join_from(people, labellers, people.c.id == labellers.c.id)
