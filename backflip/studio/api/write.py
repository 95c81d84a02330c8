"""Demonstrations: a prompt that waits for one, what labellers write, and its review."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.requests import Request

from backflip.errors import FeedbackError
from backflip.feedback.projects import Project
from backflip.feedback.writings import Writing, WritingState
from backflip.records import Demonstration
from backflip.studio.access import project_for
from backflip.studio.api.models import Id, In, Key, ProjectName, PromptOut
from backflip.studio.api.records_in import PromptIn
from backflip.studio.api.shapes import prompt_out
from backflip.studio.markdown import to_html
from backflip.studio.refusals import NotFound
from backflip.studio.sessions import address_of
from backflip.studio.state import Studio, studio_of
from backflip.studio.users import Admin, LabellerUser, User

__all__ = ["router"]

router = APIRouter(prefix="/api/projects/{project}", tags=["demonstrations"])

Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
Answer = Annotated[str, Field(min_length=1, max_length=100_000)]


class Next(BaseModel):
    """A prompt that nobody has written to; none if all are written to, or the project is paused."""

    prompt: PromptOut | None
    state: Literal["open", "empty", "paused"]


class WritingIn(In):
    """A new demonstration; the prompt may be the labeller's own."""

    prompt: PromptIn
    answer: Answer
    key: Key


class EditIn(In):
    """Another text for an own demonstration, or `withdrawn`: it counts no more."""

    answer: Answer | None = None
    withdrawn: bool = False


class ReviewIn(In):
    """What the reviewer says."""

    verdict: Literal["accepted", "returned"]
    note: str = Field("", max_length=10_000)


class WritingOut(BaseModel):
    """A demonstration and how it stands."""

    number: int
    prompt: PromptOut
    answer: str
    html: str
    author: str
    state: WritingState
    note: str
    recorded: float


@router.get("/write/next")
def next_prompt(
    request: Request,
    user: LabellerUser,
    project: ProjectName,
    skip: Annotated[list[Id] | None, Query(max_length=1000)] = None,
) -> Next:
    """A prompt to write to, other than those to skip (by id)."""
    studio = studio_of(request)
    chosen = project_for(studio, user, project)
    if chosen.state == "paused":
        return Next(prompt=None, state="paused")
    found = studio.writings.next_prompt(chosen, user.id, skip=skip or ())
    return Next(prompt=prompt_out(found), state="open") if found else Next(prompt=None, state="empty")


@router.get("/demonstrations")
def writings(
    request: Request,
    user: LabellerUser,
    project: ProjectName,
    state: WritingState | None = None,
    everybody: bool = False,
) -> list[WritingOut]:
    """The last hundred demonstrations of this labeller, or (an admin) of everybody."""
    studio = studio_of(request)
    chosen = project_for(studio, user, project)
    author = None if everybody and user.may("admin") else user.id
    return [_out(writing) for writing in studio.writings.all(chosen, author=author, state=state)]


@router.post("/demonstrations")
def submit(request: Request, user: LabellerUser, project: ProjectName, new: WritingIn) -> WritingOut:
    """Keeps a demonstration; the same key again gives the same one."""
    studio = studio_of(request)
    chosen = project_for(studio, user, project)
    own = replace(new.prompt.record(), user=user.id, source="studio")
    prompt = studio.writings.known_prompt(chosen, own) or own
    demonstration = Demonstration(prompt, new.answer, user.as_labeller, source="studio")
    return _out(studio.writings.submit(chosen, demonstration, key=new.key))


@router.patch("/demonstrations/{number}")
def edit(request: Request, user: LabellerUser, project: ProjectName, number: Number, changes: EditIn) -> WritingOut:
    """Changes or withdraws an own demonstration."""
    studio = studio_of(request)
    chosen = project_for(studio, user, project)
    old = _own(studio, chosen, user, number)
    if changes.withdrawn:
        return _out(studio.writings.withdraw(chosen, number, user.id))
    text = old.demonstration.answer if changes.answer is None else changes.answer
    new = Demonstration(old.demonstration.prompt, text, user.as_labeller, source="studio")
    return _out(studio.writings.edit(chosen, number, new))


@router.post("/demonstrations/{number}/review")
def review(request: Request, user: Admin, project: ProjectName, number: Number, said: ReviewIn) -> WritingOut:
    """Accepts a demonstration, or returns it to its author with a note."""
    studio = studio_of(request)
    chosen = project_for(studio, user, project)
    try:
        with studio.store.transaction():
            writing = studio.writings.review(chosen, number, said.verdict, reviewer=user.id, note=said.note)
            address = address_of(request)
            studio.accounts.audit.record(user.id, f"{said.verdict} a demonstration", f"{number}", address=address)
    except FeedbackError as error:
        raise NotFound(str(error)) from error
    return _out(writing)


def _own(studio: Studio, project: Project, user: User, number: int) -> Writing:
    try:
        return studio.writings.own(project, number, user.id)
    except FeedbackError as error:
        raise NotFound(str(error)) from error


def _out(writing: Writing) -> WritingOut:
    demonstration = writing.demonstration
    return WritingOut(
        number=writing.number,
        prompt=prompt_out(demonstration.prompt),
        answer=demonstration.answer,
        html=to_html(demonstration.answer),
        author=demonstration.author.id,
        state=writing.state,
        note=writing.note,
        recorded=writing.recorded,
    )
