"""Projects: what a labeller is told of them, and how an admin makes, changes and fills them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import StreamingResponse

from backflip import config
from backflip.errors import ConfigError
from backflip.feedback.codec import dump, encode_answer
from backflip.feedback.projects import EVERYBODY, TESTS, Project
from backflip.records import Answer, Labeller, Question
from backflip.studio.access import project_for, projects_for
from backflip.studio.api.models import CountsOut, In, ProjectName, Text
from backflip.studio.api.records_in import QuestionIn, QuestionsIn
from backflip.studio.markdown import to_html
from backflip.studio.refusals import Conflict, Refusal
from backflip.studio.sessions import address_of
from backflip.studio.state import Studio, studio_of
from backflip.studio.users import Admin, SignedIn, User

__all__ = ["router"]

router = APIRouter(prefix="/api/projects", tags=["projects"])


class JsonLines(StreamingResponse):
    """One JSON object a line, in constant memory."""

    media_type = "application/x-ndjson"


class FlagOut(BaseModel):
    """Something that a labeller may tick about a candidate."""

    name: str
    label: str


class ProjectOut(BaseModel):
    """A project as a labeller sees it; `flags` is empty where none are asked, `settings` is for admins."""

    name: str
    title: str
    instructions: str = Field(description="HTML")
    state: str
    rating: bool
    flags: list[FlagOut]
    review: bool
    groups: list[str]
    counts: CountsOut
    settings: dict[str, Any] | None = None


class ProjectIn(In):
    """Settings to set; the others stay."""

    title: str | None = Field(None, max_length=200)
    instructions: Text | None = None
    state: str | None = None
    overlap: int | None = None
    rating: bool | None = None
    flagging: bool | None = None
    flags: list[FlagOut] | None = Field(None, max_length=100)
    review: bool | None = None
    prompts: str | None = Field(None, max_length=100)
    qualification: float | None = None
    gold: float | None = None
    groups: list[str] | None = Field(None, max_length=20)


class NewProject(ProjectIn):
    """A project to be made."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[^/\x00]+$")


class Added(BaseModel):
    """How many were new, and the ids of all, in their order."""

    added: int
    ids: list[str]


@router.get("")
def projects(request: Request, user: SignedIn) -> list[ProjectOut]:
    """The projects that this user is in."""
    studio = studio_of(request)
    return [_out(studio, user, project) for project in projects_for(studio, user)]


@router.post("", status_code=201)
def make(request: Request, user: Admin, new: NewProject) -> ProjectOut:
    """Makes a project."""
    studio = studio_of(request)
    if studio.projects.find(new.name) is not None:
        raise Conflict(f"there is a project {new.name!r} already: change it, or take another name")
    return _save(request, user, Project(new.name), new)


@router.get("/{project}")
def project(request: Request, user: SignedIn, project: ProjectName) -> ProjectOut:
    """One project."""
    studio = studio_of(request)
    return _out(studio, user, project_for(studio, user, project))


@router.patch("/{project}")
def change(request: Request, user: Admin, project: ProjectName, changes: ProjectIn) -> ProjectOut:
    """Changes settings of a project, its state (open, paused) among them."""
    return _save(request, user, project_for(studio_of(request), user, project), changes)


@router.post("/{project}/questions")
def add(request: Request, user: Admin, project: ProjectName, new: QuestionsIn) -> Added:
    """Adds questions: all or none. The same question again is one question."""
    studio = studio_of(request)
    chosen = project_for(studio, user, project)
    records = [question.record() for question in new.questions]
    tests = [record for record in records if record.purpose in TESTS]
    usual = [record for record in records if record.purpose not in TESTS]
    with studio.store.transaction() as store:
        added = store.add_questions(usual, overlap=new.overlap or chosen.overlap, project=project)
        added += store.add_questions(tests, overlap=EVERYBODY, project=project)
        for question, record in zip(new.questions, records, strict=True):
            if question.reference is not None:
                _refer(studio, user, question, record)
        studio.accounts.audit.record(user.id, "added questions", project, address=address_of(request), added=added)
    return Added(added=added, ids=[record.id for record in records])


@router.get("/{project}/answers", responses={200: {"content": {JsonLines.media_type: {}}}})
def answers(
    request: Request, user: Admin, project: ProjectName, after: int = Query(0, ge=0, le=2**31 - 1)
) -> JsonLines:
    """All answers that stand with numbers above `after`, one JSON object a line: `{"sequence", "answer"}`."""
    studio = studio_of(request)
    chosen = project_for(studio, user, project)
    studio.accounts.audit.record(user.id, "exported answers", project, address=address_of(request))

    def lines() -> Iterator[str]:
        for numbered in studio.store.answers(after=after, project=chosen.name):
            given = json.loads(encode_answer(numbered.answer))
            yield dump({"sequence": numbered.sequence, "answer": given}) + "\n"

    return JsonLines(lines())


def _save(request: Request, user: User, old: Project, changes: ProjectIn) -> ProjectOut:
    studio = studio_of(request)
    values = changes.model_dump(exclude_none=True, exclude={"name"})
    try:
        project = config.from_dict(Project, config.dump(old) | values)
    except ConfigError as error:
        raise Refusal(str(error)) from error
    with studio.store.transaction():
        studio.projects.save(project)
        studio.accounts.audit.record(
            user.id, "changed a project", project.name, address=address_of(request), settings=sorted(values)
        )
    return _out(studio, user, project)


def _out(studio: Studio, user: User, project: Project) -> ProjectOut:
    return ProjectOut(
        name=project.name,
        title=project.title or project.name,
        instructions=to_html(project.instructions),
        state=project.state,
        rating=project.rating,
        flags=[FlagOut(**asdict(flag)) for flag in project.flags] if project.flagging else [],
        review=project.review,
        groups=list(project.groups),
        counts=CountsOut(**asdict(studio.tally.of(project.name))),
        settings=config.dump(project) if user.may("admin") else None,
    )


def _refer(studio: Studio, user: User, given: QuestionIn, record: Question) -> None:
    """The maker's answer to a question that tests labellers; the same one again stays one."""
    maker = Labeller(f"maker:{user.id}", "maker")
    studio.store.answer(Answer(record.id, maker, given.tiers(), source="studio"), key=f"reference-{record.id}")
