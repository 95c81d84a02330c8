"""Admin: the projects, and one project's settings, pause and resume."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form
from pydantic import BaseModel, Field, ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from backflip.feedback.projects import Project
from backflip.studio.access import project_for
from backflip.studio.api.projects import FlagOut, NewProject, ProjectIn, change, make
from backflip.studio.markdown import to_html
from backflip.studio.refusals import Refusal
from backflip.studio.state import studio_of
from backflip.studio.web import Admin, SignedIn, User, render

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

Word = Annotated[str, Form(max_length=200)]
Words = Annotated[str, Form(max_length=100_000)]


class MarkdownIn(BaseModel):
    """Markdown to be shown."""

    text: str = Field(max_length=100_000)


@router.post("/api/markdown")
def markdown(user: SignedIn, given: MarkdownIn) -> dict[str, str]:  # noqa: ARG001 - for those who are signed in
    """Markdown as clean HTML, for a preview."""
    return {"html": to_html(given.text)}


@router.get("/admin")
def projects(request: Request, user: Admin) -> Response:
    """All projects, and a form for a new one."""
    return _projects(request, user)


@router.post("/admin/projects")
def add(request: Request, user: Admin, name: Word, title: Word = "") -> Response:
    """Makes a project and goes to its settings."""
    try:
        made = make(request, user, NewProject.model_validate({"name": name.strip(), "title": title.strip()}))
    except Refusal as refusal:
        return _projects(request, user, problem=str(refusal), name=name, title=title, status=refusal.status)
    except ValidationError:
        problem = f"name is {name!r}; wanted 1 to 100 characters without /"
        return _projects(request, user, problem=problem, name=name, title=title, status=400)
    return RedirectResponse(f"/admin/projects/{quote(made.name)}", status_code=303)


@router.get("/admin/projects/{project}")
def settings(request: Request, user: Admin, project: str, said: str = "") -> Response:
    """A project's settings."""
    return _settings(request, project_for(studio_of(request), user, project), said=said)


@router.post("/admin/projects/{project}")
async def save(request: Request, user: Admin, project: str) -> Response:
    """Saves a project's settings, all of the form at once."""
    form = {name: str(value) for name, value in (await request.form()).items()}
    old = project_for(studio_of(request), user, project)
    try:
        change(request, user, project, ProjectIn.model_validate(_values(form)))
    except Refusal as refusal:
        return _settings(request, old, form=form, problem=str(refusal), status=refusal.status)
    except (ValidationError, ValueError) as error:
        return _settings(request, old, form=form, problem=_plain(error), status=400)
    return RedirectResponse(f"/admin/projects/{quote(project)}?said=saved", status_code=303)


@router.post("/admin/projects/{project}/state")
def state(request: Request, user: Admin, project: str, state: Word) -> Response:
    """Pauses a project, or opens it again."""
    change(request, user, project, ProjectIn.model_validate({"state": state}))
    return RedirectResponse(f"/admin/projects/{quote(project)}?said={state}", status_code=303)


def _projects(request: Request, user: User, *, status: int = 200, **more: Any) -> Response:  # noqa: ARG001
    studio = studio_of(request)
    found = [(project, studio.tally.of(project.name)) for project in studio.projects.all()]
    return render(
        request, "admin.html", status=status, found=found, **({"problem": "", "name": "", "title": ""} | more)
    )


def _settings(
    request: Request,
    project: Project,
    *,
    status: int = 200,
    form: dict[str, str] | None = None,
    problem: str = "",
    said: str = "",
) -> Response:
    flags = "\n".join(f"{flag.name}: {flag.label}" for flag in project.flags)
    return render(
        request,
        "admin_project.html",
        status=status,
        project=project,
        form=form,
        problem=problem,
        said=said,
        flags=flags,
        preview=to_html(form["instructions"] if form and "instructions" in form else project.instructions),
    )


def _values(form: dict[str, str]) -> dict[str, Any]:
    """The form's fields as the API takes them. A checkbox that is not ticked is not sent."""
    return {
        "title": form.get("title", "").strip(),
        "instructions": form.get("instructions", "").replace("\r\n", "\n"),
        "overlap": _whole("overlap", form.get("overlap", "1")),
        "rating": "rating" in form,
        "flagging": "flagging" in form,
        "flags": [FlagOut(name=name, label=label) for name, label in _flags(form.get("flags", ""))],
        "review": "review" in form,
        "prompts": form.get("prompts", "").strip(),
        "qualification": _share("qualification", form.get("qualification", "0")),
        "gold": _share("gold", form.get("gold", "0")),
        "groups": [name for part in form.get("groups", "").split(",") if (name := part.strip())],
    }


def _flags(text: str) -> list[tuple[str, str]]:
    """A flag a line, "name: what labellers see"; a line without a name gets one from its words."""
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, colon, label = line.partition(":")
        plain = "_".join(line.lower().split())
        found.append((name.strip(), label.strip()) if colon and label.strip() else (plain[:60], line))
    return found


def _whole(name: str, text: str) -> int:
    if not text.strip().isdecimal():
        raise Refusal(f"{name} is {text[:40]!r}; wanted a whole number")
    return int(text)


def _share(name: str, text: str) -> float:
    """Per cent in the form, a share of 1 in the settings."""
    try:
        return float(text) / 100
    except ValueError as error:
        raise Refusal(f"{name} is {text[:40]!r}; wanted a number, per cent") from error


def _plain(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    return str(error)
