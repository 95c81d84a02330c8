"""Admin: people and their roles, invitations, accounts of scripts, and the audit log."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

from fastapi import APIRouter, Form
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from backflip.studio.api import people as api
from backflip.studio.refusals import Refusal
from backflip.studio.state import studio_of
from backflip.studio.users import ROLES
from backflip.studio.web import Admin, render

__all__ = ["router"]

router = APIRouter(include_in_schema=False, prefix="/admin")

Word = Annotated[str, Form(max_length=200)]
_PAGE = 50


@router.get("/people")
def people(request: Request, user: Admin, said: str = "") -> Response:  # noqa: ARG001 - for admins alone
    """Everybody, and the invitations."""
    return _people(request, said=said)


@router.post("/people/{name}/role")
def role(request: Request, user: Admin, name: str, role: Word) -> Response:
    """Changes a role."""
    return _done(
        request, "role", lambda: api.change_person(request, user, name, api.PersonIn.model_validate({"role": role}))
    )


@router.post("/people/{name}/active")
def active(request: Request, user: Admin, name: str, active: Annotated[bool, Form()]) -> Response:
    """Lets somebody in no more, or again."""
    return _done(
        request,
        "active",
        lambda: api.change_person(request, user, name, api.PersonIn.model_validate({"active": active})),
    )


@router.post("/people/{name}/join")
def join(request: Request, user: Admin, name: str, project: Word) -> Response:
    """Lets somebody into a project."""
    return _done(request, "joined", lambda: api.join(request, user, name, project, api.MembershipIn()))


@router.post("/people/{name}/leave")
def leave(request: Request, user: Admin, name: str, project: Word) -> Response:
    """Takes somebody out of a project."""
    return _done(request, "left", lambda: api.leave(request, user, name, project))


@router.post("/people/{name}/qualify")
def qualify(request: Request, user: Admin, name: str, project: Word, qualified: Word = "") -> Response:
    """Overrules how the qualification ended: passed, failed, or open again."""
    known = {"passed": True, "failed": False}.get(qualified)
    return _done(
        request,
        "qualified",
        lambda: api.join(request, user, name, project, api.MembershipIn.model_validate({"qualified": known})),
    )


@router.post("/invitations")
def invite(
    request: Request,
    user: Admin,
    role: Word = "labeller",
    project: Word = "",
    note: Word = "",
    days: Annotated[float, Form()] = 3,
) -> Response:
    """Makes an invitation, and shows its link this once."""
    try:
        asked = api.InvitationIn.model_validate({"role": role, "project": project, "note": note, "hours": 24 * days})
        made = api.invite(request, user, asked)
    except Refusal as refusal:
        return _people(request, problem=str(refusal), status=refusal.status)
    except ValidationError as error:
        return _people(request, problem=_plain(error), status=400)
    return _people(request, link=str(request.base_url).rstrip("/") + made.path)


@router.post("/invitations/{key}/withdraw")
def withdraw(request: Request, user: Admin, key: str) -> Response:
    """Withdraws an invitation."""
    return _done(request, "uninvited", lambda: api.withdraw_invitation(request, user, key))


@router.post("/scripts")
async def script(request: Request, user: Admin) -> Response:
    """Makes an account for a script, and shows its token this once."""
    form = await request.form()
    projects = [str(name) for name in form.getlist("project")]
    try:
        known = {"name": form.get("name"), "kind": form.get("kind"), "projects": projects}
        new = api.ScriptIn.model_validate(known)
        made = api.add_script(request, user, new)
    except Refusal as refusal:
        return _people(request, problem=str(refusal), status=refusal.status)
    except ValidationError as error:
        return _people(request, problem=_plain(error), status=400)
    return _people(request, token=made.token)


@router.get("/audit")
def audit(request: Request, user: Admin, before: int | None = None, person: str = "") -> Response:  # noqa: ARG001
    """The audit log."""
    log = studio_of(request).accounts.audit
    found = log.entries(before=before, limit=_PAGE + 1, person=person or None)
    shown = found[:_PAGE]
    return render(
        request,
        "admin_audit.html",
        entries=[(entry, json.loads(entry.detail)) for entry in shown],
        person=person,
        before=shown[-1].number if len(found) > _PAGE else None,
        first=before is None,
    )


def _done(request: Request, said: str, act: Any) -> Response:
    try:
        act()
    except Refusal as refusal:
        return _people(request, problem=str(refusal), status=refusal.status)
    except ValidationError as error:
        return _people(request, problem=_plain(error), status=400)
    return RedirectResponse(f"/admin/people?said={said}", status_code=303)


def _people(request: Request, *, status: int = 200, **more: Any) -> Response:
    studio = studio_of(request)
    accounts = studio.accounts
    known = {"problem": "", "said": "", "link": "", "token": ""}
    return render(
        request,
        "admin_people.html",
        status=status,
        members=accounts.people.all(),
        invitations=accounts.invitations.all(),
        now=time.time(),
        projects=studio.projects.all(),
        roles=ROLES,
        **known | more,
    )


def _plain(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
