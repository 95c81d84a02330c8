"""What a labeller can do where: the projects of the home page, and the pages of Rank, Compare and Write around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from backflip.feedback.projects import QUALIFICATION, Project
from backflip.feedback.schema import lanes
from backflip.studio.access import project_for, projects_for
from backflip.studio.markdown import to_html
from backflip.studio.state import Studio
from backflip.studio.users import User

__all__ = ["Place", "Standing", "Work", "place_of", "places_of"]

Work = Literal["rank", "compare", "write"]
Standing = Literal["open", "paused", "qualification", "unqualified"]


@dataclass(frozen=True)
class Place:
    """A project as one labeller finds it: `work` is what there is to do, `standing` whether they may."""

    project: Project
    standing: Standing
    work: tuple[Work, ...]
    left: int

    @property
    def name(self) -> str:
        return self.project.name

    @property
    def title(self) -> str:
        return self.project.title or self.project.name

    @property
    def instructions(self) -> str:
        """Clean HTML."""
        return to_html(self.project.instructions)


def places_of(studio: Studio, user: User) -> list[Place]:
    """The projects of a labeller, those with something to do first."""
    found = [_place(studio, user, project) for project in projects_for(studio, user)]
    return sorted(found, key=lambda place: (not place.work or place.standing in ("paused", "unqualified"), place.name))


def place_of(studio: Studio, user: User, name: str) -> Place:
    """One project; NotFound as `project_for` has it."""
    return _place(studio, user, project_for(studio, user, name))


def _place(studio: Studio, user: User, project: Project) -> Place:
    counts = studio.tally.of(project.name)
    return Place(project, _standing(studio, user, project), _work(studio, user, project), counts.wanted)


def _standing(studio: Studio, user: User, project: Project) -> Standing:
    if project.state == "paused":
        return "paused"
    if not project.qualification or user.may("admin"):
        return "open"
    passed = studio.accounts.people.projects(user.id).get(project.name)
    return "qualification" if passed is None else "open" if passed else "unqualified"


def _work(studio: Studio, user: User, project: Project) -> tuple[Work, ...]:
    query = sa.select(lanes.c.medium, lanes.c.purpose).where(lanes.c.project == project.name)
    with studio.store.database.read() as connection:
        rows = connection.execute(query).all()
    # A project that asks for no qualification may still have such questions: they alone are nothing to do.
    media = {row.medium for row in rows if row.purpose != QUALIFICATION or project.qualification}
    writes = bool(
        studio.writings.next_prompt(project, user.id) or studio.writings.all(project, author=user.id, state=None)
    )
    named: tuple[tuple[Work, bool], ...] = (
        ("rank", "text" in media),
        ("compare", "clip" in media),
        ("write", writes),
    )
    return tuple(work for work, there in named if there)
