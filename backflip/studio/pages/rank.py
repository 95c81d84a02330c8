"""Rank: order the answers to a prompt. The questions come by the API; this is the page around them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from backflip.studio.bench import place_of
from backflip.studio.web import LabellerUser, render, studio_of

__all__ = ["router"]

router = APIRouter(include_in_schema=False)


@router.get("/rank/{project}")
def rank(request: Request, user: LabellerUser, project: str, medium: Literal["text", "clip"] = "text") -> Response:
    """The bench of one project; clips come here when there are more than two to a question."""
    place = place_of(studio_of(request), user, project)
    flags = [asdict(flag) for flag in place.project.flags] if place.project.flagging else []
    page = {"user": user.id, "project": place.name, "medium": medium, "rating": place.project.rating, "flags": flags}
    return render(request, "rank.html", place=place, page=page)
