"""Who a request comes from: a session cookie or a bearer token; and forms that only our own pages can send."""

from __future__ import annotations

import secrets

from starlette.requests import Request
from starlette.responses import Response

from backflip.studio.refusals import NotAllowed
from backflip.studio.state import studio_of
from backflip.studio.users import User

__all__ = ["begin", "csrf_token", "end", "identify", "require_csrf"]

SAFE = ("GET", "HEAD", "OPTIONS")
CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf_token"


def identify(request: Request) -> User | None:
    """The user of the session cookie, if it is signed by us and still open."""
    studio = studio_of(request)
    session, _, signature = request.cookies.get(studio.settings.cookie, "").partition(".")
    if not studio.signer.is_signed(signature, "session", session):
        return None
    return User("local", "local", "admin")


def begin(request: Request, response: Response) -> None:
    """Signs a person in: the response brings the cookie."""
    studio = studio_of(request)
    session = secrets.token_urlsafe(24)
    response.set_cookie(
        studio.settings.cookie,
        f"{session}.{studio.signer.signature('session', session)}",
        max_age=int(studio.settings.session_hours * 3600),
        httponly=True,
        samesite="lax",  # a link from a mail or from the terminal opens the site signed in
        secure=studio.settings.https,
    )


def end(request: Request, response: Response) -> None:
    """Signs the person out."""
    response.delete_cookie(studio_of(request).settings.cookie)


def csrf_token(request: Request) -> str:
    """What our own pages send back with every change: a signature of the session that others cannot read."""
    studio = studio_of(request)
    return studio.signer.signature("csrf", request.cookies.get(studio.settings.cookie, ""))


async def require_csrf(request: Request) -> None:
    """A dependency of all routes: what changes something and comes by cookie carries the page's token."""
    if request.method in SAFE:
        return
    sent = request.headers.get(CSRF_HEADER, "")
    if not sent and "form" in request.headers.get("content-type", ""):
        sent = str((await request.form()).get(CSRF_FIELD, ""))
    studio = studio_of(request)
    if not studio.signer.is_signed(sent, "csrf", request.cookies.get(studio.settings.cookie, "")):
        raise NotAllowed("the form is not from this session: load the page again and send it once more")
