"""The door: sign in, accept an invitation, change a password. Each is written to the audit log."""

from __future__ import annotations

from collections.abc import Callable

from backflip.feedback.store import Store
from backflip.records import LabellerKind
from backflip.studio.accounts.audit import Audit
from backflip.studio.accounts.credentials import Credentials
from backflip.studio.accounts.invitations import Invitations
from backflip.studio.accounts.limits import Limits
from backflip.studio.accounts.passwords import Passwords
from backflip.studio.accounts.people import LOCAL, People, canonical_name
from backflip.studio.refusals import NotAllowed, NotFound, Refusal
from backflip.studio.users import Role, User

__all__ = ["Accounts"]


class Accounts:
    """All about the people of one store, in one place."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float],
        *,
        session_seconds: float,
        passwords: Passwords | None = None,
    ) -> None:
        self._store, self._clock, self._session_seconds = store, clock, session_seconds
        self.people = People(store)
        self.credentials = Credentials(store.database, clock)
        self.invitations = Invitations(store.database, clock)
        self.audit = Audit(store.database, clock)
        self._passwords, self._limits = passwords or Passwords(), Limits(clock)

    def sign_in(self, typed: str, password: str, *, address: str) -> str:
        """A new session; the refusal does not tell whether the name or the password was wrong."""
        try:
            name = canonical_name(typed)
        except Refusal:
            name = ""
        self._limits.take(name, address)
        if not self._passwords.is_right(password, self.people.password(name)):
            self.audit.record(name, "sign-in refused", address=address)
            raise NotAllowed("the name or the password is wrong")
        self._limits.succeeded(name, address)
        with self._store.transaction():
            self.audit.record(name, "signed in", address=address)
            return self.credentials.open_session(name, self._session_seconds)

    def sign_in_locally(self, *, address: str) -> str:
        """A new session of the one person of a studio without accounts."""
        with self._store.transaction():
            try:
                self.people.find(LOCAL)
            except NotFound:
                self.people.add(LOCAL, role="admin", now=self._clock())
            self.audit.record(LOCAL, "signed in", address=address)
            return self.credentials.open_session(LOCAL, self._session_seconds)

    def forget_local(self) -> None:
        """A studio with accounts does not let in who came to this store by a token link."""
        self.credentials.close_sessions(LOCAL)
        self.credentials.revoke_tokens(LOCAL)

    def accept(self, word: str, typed: str, password: str, *, address: str, language: str = "") -> str:
        """Makes the account of an invitation and signs it in: a new session."""
        name = canonical_name(typed)
        invitation = self.invitations.open(word)
        hashed = self._passwords.hash(password, name=name)
        with self._store.transaction():
            self.people.add(name, role=invitation.role, now=self._clock(), password=hashed, language=language)
            if invitation.project:
                self.people.join(name, invitation.project)
            self.invitations.use(word, name)
            self.audit.record(name, "joined", invitation.project, address=address, role=invitation.role)
            return self.credentials.open_session(name, self._session_seconds)

    def change_password(self, user: User, old: str, new: str, *, address: str) -> str:
        """Sets a new password and ends all sessions; returns a new one for who did it."""
        self._limits.take(user.id, address)
        if not self._passwords.is_right(old, self.people.password(user.id)):
            raise NotAllowed("the old password is wrong")
        self._limits.succeeded(user.id, address)
        hashed = self._passwords.hash(new, name=user.id)
        with self._store.transaction():
            self.people.change(user.id, password=hashed)
            self.credentials.close_sessions(user.id)
            self.audit.record(user.id, "changed the password", address=address)
            return self.credentials.open_session(user.id, self._session_seconds)

    def add_script(self, typed: str, *, kind: LabellerKind, projects: list[str], admin: User, address: str) -> str:
        """An account for a script (a simulated judge) that cannot sign in by password; returns its token."""
        name = canonical_name(typed)
        with self._store.transaction():
            self.people.add(name, role="labeller", now=self._clock(), kind=kind)
            for project in projects:
                self.people.join(name, project)
            self.audit.record(admin.id, "added a script", name, address=address, projects=projects)
            return self.credentials.make_token(name, "first")

    def change_person(
        self, admin: User, name: str, *, role: Role | None = None, active: bool | None = None, address: str
    ) -> None:
        """Changes a person's role, or lets them in no more: their sessions end and their tokens are revoked."""
        asked = {"role": role, "active": None if active is None else int(active)}
        values = {column: value for column, value in asked.items() if value is not None}
        with self._store.transaction():
            if values:
                self.people.change(name, **values)
            if active is False:
                self.credentials.close_sessions(name)
                self.credentials.revoke_tokens(name)
            self.audit.record(admin.id, "changed a person", name, address=address, **values)
