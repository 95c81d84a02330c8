"""Write: demonstrations, one's own earlier ones and what became of them."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from backflip.studio.bench import place_of
from backflip.studio.web import LabellerUser, render, studio_of

__all__ = ["router"]

router = APIRouter(include_in_schema=False)


@router.get("/write/{project}")
def write(request: Request, user: LabellerUser, project: str) -> Response:
    """The desk of one project."""
    place = place_of(studio_of(request), user, project)
    page = {"user": user.id, "project": place.name, "review": place.project.review}
    return render(request, "write.html", place=place, page=page)
