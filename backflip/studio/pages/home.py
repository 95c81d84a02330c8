"""The way in: the token link of a studio without accounts, a labeller's projects, and the nearest work of a kind."""

from __future__ import annotations

import hmac
from typing import Literal
from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from backflip.studio.bench import Work, places_of
from backflip.studio.refusals import NotAllowed
from backflip.studio.sessions import address_of, begin, inside
from backflip.studio.state import studio_of
from backflip.studio.users import LabellerUser, User
from backflip.studio.web import render

__all__ = ["router"]

router = APIRouter(include_in_schema=False)


@router.get("/")
def home(request: Request, token: str = "", next: str = "/rank") -> Response:  # noqa: A002 - as of /login
    """With the link's token: signs in, and on to the work (`next`). Without: the labeller's projects."""
    studio = studio_of(request)
    user: User | None = request.state.user
    if not token or studio.settings.accounts:
        if user and user.may("labeller"):
            return render(request, "home.html", places=places_of(studio, user), wanted=None)
        return RedirectResponse("/runs" if user else "/login", status_code=303)
    if not hmac.compare_digest(token.encode(), studio.settings.token.encode()):
        raise NotAllowed("this link is of another start of the studio: use the one that it printed last")
    response = RedirectResponse(inside(next), status_code=303)
    begin(request, response, studio.accounts.sign_in_locally(address=address_of(request)))
    return response


@router.get("/rank")
def rank(request: Request, user: LabellerUser) -> Response:
    """Ranking in the only project that has some, else a choice."""
    return _nearest(request, user, "rank")


@router.get("/compare")
def compare(request: Request, user: LabellerUser) -> Response:
    """Comparing in the only project that has some, else a choice."""
    return _nearest(request, user, "compare")


@router.get("/write")
def write(request: Request, user: LabellerUser) -> Response:
    """Writing in the only project that has some, else a choice."""
    return _nearest(request, user, "write")


def _nearest(request: Request, user: User, work: Literal["rank", "compare", "write"]) -> Response:
    places = places_of(studio_of(request), user)
    fitting = [place for place in places if work in place.work]
    if len(fitting) == 1:
        return RedirectResponse(f"/{work}/{quote(fitting[0].name, safe='')}", status_code=303)
    wanted: Work = work
    return render(request, "home.html", places=fitting, wanted=wanted)
