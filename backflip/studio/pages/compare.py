"""Compare: two clips side by side, in step. The questions come by the API; this is the page around them."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from backflip.studio.bench import place_of
from backflip.studio.web import LabellerUser, render, studio_of

__all__ = ["router"]

router = APIRouter(include_in_schema=False)


@router.get("/compare/{project}")
def compare(request: Request, user: LabellerUser, project: str) -> Response:
    """The bench of one project."""
    place = place_of(studio_of(request), user, project)
    page = {"user": user.id, "project": place.name, "medium": "clip"}
    return render(request, "compare.html", place=place, page=page)
