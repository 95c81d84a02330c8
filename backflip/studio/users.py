"""Who is behind a request, and the dependencies that let a route have them: signed_in, labeller, admin.

These are async though they wait for nothing: a plain function would be run in a thread of its own, each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, get_args

from fastapi import Depends
from starlette.requests import Request

from backflip.records import Labeller, LabellerKind
from backflip.studio.refusals import NotAllowed, NotSignedIn

__all__ = ["ROLES", "Admin", "LabellerUser", "Role", "SignedIn", "User", "admin", "labeller", "signed_in"]

Role = Literal["viewer", "labeller", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)  # each may do what those before it may


@dataclass(frozen=True)
class User:
    """A person (or a script) who is signed in; `id` is their labeller's id in the store."""

    id: str
    name: str
    role: Role
    kind: LabellerKind = "person"
    groups: Mapping[str, str] = field(default_factory=dict)
    language: str = ""

    def may(self, role: Role) -> bool:
        """Whether this user may do what `role` may."""
        return ROLES.index(self.role) >= ROLES.index(role)

    @property
    def as_labeller(self) -> Labeller:
        return Labeller(self.id, self.kind, dict(self.groups))


async def signed_in(request: Request) -> User:
    """The user; a page sends others to sign in, the API answers 401."""
    user: User | None = getattr(request.state, "user", None)
    if user is None:
        raise NotSignedIn
    return user


SignedIn = Annotated[User, Depends(signed_in)]


async def labeller(user: SignedIn) -> User:
    """The user, who may label."""
    return _at_least("labeller", user)


async def admin(user: SignedIn) -> User:
    """The user, who may run the place."""
    return _at_least("admin", user)


LabellerUser = Annotated[User, Depends(labeller)]
Admin = Annotated[User, Depends(admin)]


def _at_least(role: Role, user: User) -> User:
    if not user.may(role):
        raise NotAllowed(f"your role is {user.role}; wanted {role}: ask an admin")
    return user
