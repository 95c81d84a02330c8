"""Who a request comes from: a session cookie or a bearer token; and forms that only our own pages can send."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from backflip.studio.refusals import NotAllowed, NotSignedIn
from backflip.studio.state import studio_of
from backflip.studio.users import User

__all__ = ["address_of", "begin", "csrf_token", "end", "identify", "inside", "require_own_form"]

SAFE = ("GET", "HEAD", "OPTIONS")
CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf_token"


def identify(request: HTTPConnection) -> User | None:
    """The user of the bearer token, else of the session cookie, if it is signed by us and still open."""
    studio = studio_of(request)
    if (word := _bearer(request)) is not None:
        return studio.accounts.credentials.user_of_token(word)
    session = _session(request)
    return studio.accounts.credentials.user_of_session(session) if session else None


def begin(request: Request, response: Response, session: str) -> None:
    """Gives the browser the cookie of a new session."""
    studio = studio_of(request)
    response.set_cookie(
        studio.settings.cookie,
        f"{session}.{studio.signer.signature('session', session)}",
        max_age=int(studio.settings.session_hours * 3600),
        httponly=True,
        samesite="lax",  # a link from a mail or from the terminal finds its reader signed in
        secure=studio.settings.https,
    )


def end(request: Request, response: Response) -> None:
    """Ends the session, here and in the browser."""
    studio = studio_of(request)
    if session := _session(request):
        studio.accounts.credentials.close_session(session)
    response.delete_cookie(studio.settings.cookie)


def inside(path: str) -> str:
    """The path, if it is one of ours: a link must not lead to another site."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"


def address_of(request: HTTPConnection) -> str:
    """Where the request comes from, for the audit log and the limits."""
    return request.client.host if request.client else ""


def csrf_token(request: HTTPConnection) -> str:
    """What our own pages send back with every change: a signature of the session that nobody else can make."""
    return studio_of(request).signer.signature("csrf", _session(request))


async def require_own_form(request: Request) -> None:
    """A dependency of all routes: what changes something comes from a page of ours, or from a script with its token."""
    if request.method in SAFE or _bearer(request) is not None:
        return
    if _from_elsewhere(request):
        raise NotAllowed("the request comes from another site: open the studio's own page and do it there")
    sent = request.headers.get(CSRF_HEADER, "")
    if not sent and "form" in request.headers.get("content-type", ""):
        sent = str((await request.form()).get(CSRF_FIELD, ""))
    if not studio_of(request).signer.is_signed(sent, "csrf", _session(request)):
        if request.url.path.startswith("/api/") and request.state.user is None:
            raise NotSignedIn
        raise NotAllowed("the form is not of this session: load the page again and send it once more")


def _session(request: HTTPConnection) -> str:
    """The session of the cookie; empty if there is none that we signed."""
    studio = studio_of(request)
    session, _, signature = request.cookies.get(studio.settings.cookie, "").partition(".")
    return session if studio.signer.is_signed(signature, "session", session) else ""


def _bearer(request: HTTPConnection) -> str | None:
    scheme, _, word = request.headers.get("authorization", "").partition(" ")
    return word.strip() if scheme.lower() == "bearer" else None


def _from_elsewhere(request: Request) -> bool:
    # A browser names the origin of every POST; before one is signed in there is no session to sign the form with.
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")
