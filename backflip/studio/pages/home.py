"""The way in: the token link of a studio without accounts, and where one goes from there."""

from __future__ import annotations

import hmac

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from backflip.studio.refusals import NotAllowed
from backflip.studio.sessions import begin
from backflip.studio.state import studio_of

__all__ = ["router"]

router = APIRouter(include_in_schema=False)


@router.get("/")
def home(request: Request, token: str = "") -> Response:
    """With the link's token: signs in. Then on to the work."""
    settings = studio_of(request).settings
    response = RedirectResponse("/rank", status_code=303)
    if token and not settings.accounts:
        if not hmac.compare_digest(token.encode(), settings.token.encode()):
            raise NotAllowed("this link is of another start of the studio: use the one that it printed last")
        begin(request, response)
    return response
