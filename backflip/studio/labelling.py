"""What a labeller gets next: the qualification first, if there is one, then the queue with gold questions mixed in."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from backflip.feedback.projects import GOLD, QUALIFICATION, TESTS, Project
from backflip.feedback.quality.gold import gold, references
from backflip.feedback.store import Lease
from backflip.records import Medium
from backflip.studio.state import Studio
from backflip.studio.users import User

__all__ = ["Handed", "QueueState", "Wanted", "hand_out"]

QueueState = Literal["open", "empty", "paused", "qualification", "unqualified"]


@dataclass(frozen=True)
class Wanted:
    """How many questions, of which medium; `have` are those of the labeller's leases (by question) that they know of.

    Leases that they hold and do not know of (the page was loaded again, a response was lost) come before new ones;
    with `have` None they are left alone.
    """

    count: int
    medium: Medium | None = None
    have: Collection[str] | None = None


@dataclass(frozen=True)
class Handed:
    """Questions for one labeller, and how it stands with the project for them."""

    leases: list[Lease]
    state: QueueState


def hand_out(studio: Studio, user: User, project: Project, wanted: Wanted) -> Handed:
    """The next questions of a project for this labeller."""
    if project.state == "paused":
        return Handed([], "paused")
    passed = _passed(studio, user, project)
    if passed is None:
        leases = _qualification(studio, user, project, wanted)
        if leases or not wanted.count:
            return Handed(leases, "qualification")
        passed = _examine(studio, user, project)
    if not passed:
        return Handed([], "unqualified")
    leases = _usual(studio, user, project, wanted)
    return Handed(leases, "open" if leases or not wanted.count else "empty")


def _usual(studio: Studio, user: User, project: Project, wanted: Wanted) -> list[Lease]:
    known = [lease for lease in _unknown(studio, user, project, wanted) if lease.question.purpose != QUALIFICATION]
    missing = wanted.count - len(known)
    tests = sum(random.random() < project.gold for _ in range(missing))
    golden = _new(studio, user, project, wanted, count=tests, purpose=GOLD)
    usual = _new(studio, user, project, wanted, count=missing - len(golden), but=TESTS)
    for lease in golden:  # their place must not tell what they are
        usual.insert(random.randint(0, len(usual)), lease)
    return known[: wanted.count] + usual


def _qualification(studio: Studio, user: User, project: Project, wanted: Wanted) -> list[Lease]:
    known = [lease for lease in _unknown(studio, user, project, wanted) if lease.question.purpose == QUALIFICATION]
    missing = wanted.count - len(known)
    return known[: wanted.count] + _new(studio, user, project, wanted, count=missing, purpose=QUALIFICATION)


def _unknown(studio: Studio, user: User, project: Project, wanted: Wanted) -> list[Lease]:
    """The leases that the labeller holds and does not know of."""
    if wanted.have is None or not wanted.count:
        return []
    held = studio.store.held(user.id, project=project.name)
    right = [lease for lease in held if wanted.medium in (None, lease.question.medium)]
    return [lease for lease in right if lease.question.id not in wanted.have]


def _new(
    studio: Studio,
    user: User,
    project: Project,
    wanted: Wanted,
    *,
    count: int,
    purpose: str | None = None,
    but: Collection[str] = (),
) -> list[Lease]:
    if count <= 0:
        return []
    return studio.store.leases(
        user.as_labeller,
        count=count,
        project=project.name,
        purpose=purpose,
        medium=wanted.medium,
        but=but,
        seconds=studio.settings.lease_seconds,
    )


def _passed(studio: Studio, user: User, project: Project) -> bool | None:
    """Whether the labeller may answer; None: that is still to be found out. Admins need not prove anything."""
    if not project.qualification or user.may("admin"):
        return True
    return studio.accounts.people.projects(user.id).get(project.name)


def _examine(studio: Studio, user: User, project: Project) -> bool:
    """Whether the labeller passed the qualification, now that all of it is answered; it is written down."""
    given = [n.answer for n in studio.store.answers(project=project.name, purpose=QUALIFICATION)]
    mark = gold((a for a in given if a.labeller.id == user.id), references(given))
    if mark is None:  # the project has no such questions
        return True
    passed = mark.value >= project.qualification
    studio.accounts.people.qualify(user.id, project.name, passed)
    verdict = "passed the qualification" if passed else "failed the qualification"
    studio.accounts.audit.record(user.id, verdict, project.name, passed=mark.passed, asked=mark.asked)
    return passed
