"""The way in: the token link of a studio without accounts, and where one goes from there."""

from __future__ import annotations

import hmac

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from backflip.studio.refusals import NotAllowed
from backflip.studio.sessions import address_of, begin
from backflip.studio.state import studio_of
from backflip.studio.users import User

__all__ = ["router"]

router = APIRouter(include_in_schema=False)


@router.get("/")
def home(request: Request, token: str = "") -> Response:
    """With the link's token: signs in. Then on to the work."""
    studio = studio_of(request)
    user: User | None = request.state.user
    if not token or studio.settings.accounts:
        return RedirectResponse("/runs" if user and not user.may("labeller") else "/rank", status_code=303)
    if not hmac.compare_digest(token.encode(), studio.settings.token.encode()):
        raise NotAllowed("this link is of another start of the studio: use the one that it printed last")
    response = RedirectResponse("/rank", status_code=303)
    begin(request, response, studio.accounts.sign_in_locally(address=address_of(request)))
    return response
