"""Which projects a user may see: admins all, others those they are members of."""

from __future__ import annotations

from backflip.feedback.projects import Project
from backflip.studio.refusals import NotFound
from backflip.studio.state import Studio
from backflip.studio.users import User

__all__ = ["project_for", "projects_for"]


def project_for(studio: Studio, user: User, name: str) -> Project:
    """The project, if this user may see it; NotFound does not tell whether there is one that they may not."""
    project = studio.projects.find(name)
    if project is None or not (user.may("admin") or name in studio.accounts.people.projects(user.id)):
        raise NotFound(f"there is no project {name[:100]!r}, or you are not in it: ask an admin")
    return project


def projects_for(studio: Studio, user: User) -> list[Project]:
    """All projects that this user may see, by name."""
    everything = studio.projects.all()
    if user.may("admin"):
        return everything
    own = studio.accounts.people.projects(user.id)
    return [project for project in everything if project.name in own]
