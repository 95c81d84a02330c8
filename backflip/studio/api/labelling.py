"""Lease, answer, pass, undo: what a labeller's page (or a script) does all day."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request

from backflip.errors import FeedbackError
from backflip.feedback.projects import Project
from backflip.feedback.store import Lease
from backflip.records import Answer
from backflip.studio.access import project_for
from backflip.studio.api.models import (
    Answered,
    AnswerIn,
    CountsOut,
    LeaseIn,
    Leases,
    PassIn,
    ProjectName,
    UndoIn,
    Undone,
)
from backflip.studio.api.shapes import lease_out, receipt
from backflip.studio.labelling import Handed, Wanted, hand_out
from backflip.studio.refusals import NotAllowed, NotFound
from backflip.studio.state import Studio, studio_of
from backflip.studio.users import LabellerUser, User

__all__ = ["router"]

router = APIRouter(prefix="/api/projects/{project}", tags=["labelling"])


@router.post("/lease")
def lease(request: Request, user: LabellerUser, project: ProjectName, asked: LeaseIn) -> Leases:
    """The next questions for this labeller."""
    studio = studio_of(request)
    chosen = project_for(studio, user, project)
    handed = hand_out(studio, user, chosen, Wanted(asked.count, asked.medium, asked.have))
    return _leases(studio, user, chosen, handed)


@router.post("/answers")
def answer(request: Request, user: LabellerUser, project: ProjectName, given: AnswerIn) -> Answered:
    """Keeps an answer, however late, and brings the next questions."""
    studio = studio_of(request)
    record = _record(user, given)
    with studio.store.transaction(whole=True) as store:  # one, and so one wait for the disk
        chosen = _handed_before(studio, user, project, given)
        sequence = store.answer(record, key=given.key)
        handed = hand_out(studio, user, chosen, Wanted(given.next, given.medium, given.have))
    return Answered(sequence=sequence, **dict(_leases(studio, user, chosen, handed)))


@router.post("/pass")
def pass_on(request: Request, user: LabellerUser, project: ProjectName, given: PassIn) -> Leases:
    """Gives a question to somebody else and brings the next ones; this labeller does not get it again."""
    studio = studio_of(request)
    with studio.store.transaction(whole=True) as store:
        chosen = _handed_before(studio, user, project, given)
        store.pass_on(Lease("", store.question(given.question), user.id, chosen.name, 0.0), given.reason)
        handed = hand_out(studio, user, chosen, Wanted(given.next, given.medium, given.have))
    return _leases(studio, user, chosen, handed)


@router.post("/undo")
def undo(request: Request, user: LabellerUser, project: ProjectName, given: UndoIn) -> Undone:
    """Withdraws an own answer and brings its question again."""
    studio = studio_of(request)
    chosen = project_for(studio, user, project)
    with studio.store.transaction() as store:
        try:
            again = store.take_back(given.sequence, user.id, seconds=studio.settings.lease_seconds)
        except FeedbackError as error:
            raise NotFound(str(error)) from error
        if again.project != chosen.name:
            raise NotFound(f"your answer {given.sequence} is not in project {chosen.name!r}")
    return Undone(lease=lease_out(studio, user, again))


def _handed_before(studio: Studio, user: User, project: str, given: AnswerIn | PassIn) -> Project:
    chosen = project_for(studio, user, project)
    if given.token != receipt(studio, user.id, project, given.question):
        raise NotAllowed("this question was not handed to you in this project: ask for a lease first")
    return chosen


def _record(user: User, given: AnswerIn) -> Answer:
    return Answer(
        question=given.question,
        labeller=user.as_labeller,
        tiers=tuple(tuple(tier) for tier in given.tiers),
        shown=tuple(given.shown),
        ratings=given.ratings,
        flags={candidate: tuple(names) for candidate, names in given.flags.items()},
        seconds=given.seconds,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        source="studio",
        note=given.note,
    )


def _leases(studio: Studio, user: User, project: Project, handed: Handed) -> Leases:
    return Leases(
        leases=[lease_out(studio, user, lease) for lease in handed.leases],
        state=handed.state,
        counts=CountsOut(**asdict(studio.tally.of(project.name))),
    )
