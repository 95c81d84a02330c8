"""People, for admins: who is here, what they may, invitations, accounts of scripts, and the audit log."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field
from starlette.requests import Request

from backflip.studio.access import project_for
from backflip.studio.accounts.audit import Entry
from backflip.studio.accounts.invitations import Invitation
from backflip.studio.api.models import In, ProjectName
from backflip.studio.refusals import Conflict
from backflip.studio.sessions import address_of
from backflip.studio.state import studio_of
from backflip.studio.users import Admin, Role, admin

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["admin"], dependencies=[Depends(admin)])

Name = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[^/\x00]+$")]


class PersonOut(BaseModel):
    """A person; `projects` say whether they passed the qualification (null: not yet known)."""

    id: str
    role: Role
    kind: str
    groups: dict[str, str]
    active: bool
    created: float
    projects: dict[str, bool | None]


class PersonIn(In):
    """What is to be changed; who is made inactive is signed out, and their tokens are revoked."""

    role: Role | None = None
    active: bool | None = None


class MembershipIn(In):
    """Whether the person passed the qualification; null: that is still to be found out."""

    qualified: bool | None = None


class InvitationIn(In):
    """Who is invited: their role, perhaps a project, and a note for the admins."""

    role: Role = "labeller"
    project: str = Field("", max_length=100)
    note: str = Field("", max_length=200)
    hours: float = Field(72, gt=0, le=24 * 90)


class InvitationMade(BaseModel):
    """The link's path: it is shown this once, and makes one account."""

    path: str


class ScriptIn(In):
    """An account for a script: a simulated judge, or a person's program."""

    name: str = Field(min_length=1, max_length=64)
    kind: Literal["person", "simulated"] = "simulated"
    projects: list[str] = Field([], max_length=100)


class ScriptMade(BaseModel):
    """The script's token: it is shown this once."""

    token: str


@router.get("/people")
def people(request: Request) -> list[PersonOut]:
    """Everybody who has an account."""
    return [
        PersonOut(
            id=member.user.id,
            role=member.user.role,
            kind=member.user.kind,
            groups=dict(member.user.groups),
            active=member.active,
            created=member.created,
            projects=member.projects,
        )
        for member in studio_of(request).accounts.people.all()
    ]


@router.patch("/people/{name}", status_code=204)
def change_person(request: Request, user: Admin, name: Name, changes: PersonIn) -> None:
    """Changes a role, or lets somebody in no more."""
    accounts = studio_of(request).accounts
    if name == user.id:
        raise Conflict("you cannot change your own role or leave: another admin can do it")
    accounts.change_person(user, name, role=changes.role, active=changes.active, address=address_of(request))


@router.put("/people/{name}/projects/{project}", status_code=204)
def join(request: Request, user: Admin, name: Name, project: ProjectName, said: MembershipIn) -> None:
    """Lets a person into a project."""
    studio = studio_of(request)
    project_for(studio, user, project)
    with studio.store.transaction():
        studio.accounts.people.find(name)
        studio.accounts.people.join(name, project)
        studio.accounts.people.qualify(name, project, said.qualified)
        studio.accounts.audit.record(user.id, "let into a project", name, address=address_of(request), project=project)


@router.delete("/people/{name}/projects/{project}", status_code=204)
def leave(request: Request, user: Admin, name: Name, project: ProjectName) -> None:
    """Takes a person out of a project; their answers stay."""
    studio = studio_of(request)
    with studio.store.transaction():
        studio.accounts.people.find(name)
        studio.accounts.people.leave(name, project)
        address = address_of(request)
        studio.accounts.audit.record(user.id, "took out of a project", name, address=address, project=project)


@router.post("/people", status_code=201)
def add_script(request: Request, user: Admin, new: ScriptIn) -> ScriptMade:
    """Makes an account for a script, which signs in by its token alone."""
    studio = studio_of(request)
    for project in new.projects:
        project_for(studio, user, project)
    word = studio.accounts.add_script(
        new.name, kind=new.kind, projects=new.projects, admin=user, address=address_of(request)
    )
    return ScriptMade(token=word)


@router.get("/invitations")
def invitations(request: Request) -> list[Invitation]:
    """All invitations, those that expire last first."""
    return studio_of(request).accounts.invitations.all()


@router.post("/invitations", status_code=201)
def invite(request: Request, user: Admin, asked: InvitationIn) -> InvitationMade:
    """Makes an invitation; whoever opens its link first gets the account."""
    studio = studio_of(request)
    if asked.project:
        project_for(studio, user, asked.project)
    with studio.store.transaction():
        word = studio.accounts.invitations.make(
            role=asked.role, inviter=user.id, project=asked.project, note=asked.note, hours=asked.hours
        )
        address = address_of(request)
        studio.accounts.audit.record(user.id, "invited", asked.project, address=address, role=asked.role)
    return InvitationMade(path=f"/invitation/{word}")


@router.delete("/invitations/{key}", status_code=204)
def withdraw_invitation(request: Request, user: Admin, key: Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]) -> None:
    """Withdraws an invitation that was not used."""
    studio = studio_of(request)
    with studio.store.transaction():
        studio.accounts.invitations.withdraw(key)
        studio.accounts.audit.record(user.id, "withdrew an invitation", key, address=address_of(request))


@router.get("/audit")
def audit(
    request: Request,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[Entry]:
    """The audit log, newest first."""
    return studio_of(request).accounts.audit.entries(before=before, limit=limit)
