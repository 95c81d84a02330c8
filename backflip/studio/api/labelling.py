"""Lease, answer, pass, undo: what a labeller's page (or a script) does all day."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request

from backflip.feedback.store import Lease
from backflip.records import Answer
from backflip.studio.api.models import Answered, AnswerIn, LeaseIn, Leases
from backflip.studio.api.shapes import lease_out, receipt
from backflip.studio.refusals import NotAllowed
from backflip.studio.state import Studio, studio_of
from backflip.studio.users import LabellerUser, User

__all__ = ["router"]

router = APIRouter(prefix="/api/projects/{project}", tags=["labelling"])


@router.post("/lease")
def lease(request: Request, user: LabellerUser, project: str, asked: LeaseIn) -> Leases:
    """The next questions for this labeller."""
    studio = studio_of(request)
    return _leases(studio, user, _hand_out(studio, user, project, asked.count))


@router.post("/answers")
def answer(request: Request, user: LabellerUser, project: str, given: AnswerIn) -> Answered:
    """Keeps an answer, however late, and brings the next questions."""
    studio = studio_of(request)
    if given.token != receipt(studio, user.id, project, given.question):
        raise NotAllowed("this question was not handed to you in this project: ask for a lease")
    record = Answer(
        question=given.question,
        labeller=user.as_labeller,
        tiers=tuple(tuple(tier) for tier in given.tiers),
        shown=tuple(given.shown),
        ratings=given.ratings,
        flags={key: tuple(names) for key, names in given.flags.items()},
        seconds=given.seconds,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        source="studio",
        note=given.note,
    )
    with studio.store.transaction() as store:
        sequence = store.answer(record, key=given.key)
        leases = _hand_out(studio, user, project, given.next)
    found = _leases(studio, user, leases)
    return Answered(sequence=sequence, leases=found.leases, state=found.state, counts=found.counts)


def _hand_out(studio: Studio, user: User, project: str, count: int) -> list[Lease]:
    if not count:
        return []
    seconds = studio.settings.lease_seconds
    return studio.store.leases(user.as_labeller, count=count, project=project, seconds=seconds)


def _leases(studio: Studio, user: User, leases: list[Lease]) -> Leases:
    shown = [lease_out(studio, user, lease) for lease in leases]
    return Leases(leases=shown, state="open" if shown else "empty")
