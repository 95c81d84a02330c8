"""What stands before every route: who it is, how much they may bring, the headers of a response. Plain ASGI."""

from __future__ import annotations

import re
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backflip.errors import BackflipError
from backflip.studio.failures import problem
from backflip.studio.sessions import identify
from backflip.studio.settings import Settings
from backflip.studio.users import User

__all__ = ["CONTENT_SECURITY_POLICY", "Gate", "SecurityHeaders"]

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
_UPLOADS: Final = re.compile(r"/(import|questions)$")
_DRAINED: Final = 8 * 1024 * 1024  # bytes read after the limit, so that the client gets to hear of it


class SecurityHeaders:
    """Puts the headers on every response, whoever made it."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        self._headers = _HEADERS | ({"Strict-Transport-Security": "max-age=31536000"} if https else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class Gate:
    """Finds out who asks (`request.state.user`), and lets in no more of a body than they may bring."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/static/"):
            await self._app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        try:
            user = await run_in_threadpool(identify, request)
        except BackflipError as error:  # the store cannot be reached
            await problem(503, str(error))(scope, receive, send)
            return
        scope.setdefault("state", {})["user"] = user
        await _Body(self._app, self._limit(scope["path"], user)).serve(scope, receive, send)

    def _limit(self, path: str, user: User | None) -> int:
        uploads = user is not None and user.may("admin") and _UPLOADS.search(path)
        return self._settings.upload_limit if uploads else self._settings.body_limit


class _Body:
    """One request, whose body is counted as it comes."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit
        self._seen, self._begun, self._refused = 0, False, False

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if said.isdigit() and int(said) > self._limit:
            await self._refuse(scope, receive, send, more=True)
            return

        async def counted() -> Message:
            message = await receive()
            self._seen += len(message.get("body", b""))
            if self._seen <= self._limit:
                return message
            if not (self._begun or self._refused):
                await self._refuse(scope, receive, send, more=message.get("more_body", False))
            return {"type": "http.disconnect"}

        async def unless_refused(message: Message) -> None:
            self._begun = True
            if not self._refused:
                await send(message)

        try:
            await self._app(scope, counted, unless_refused)
        except Exception:
            if not self._refused:  # else it is only that the body ended early
                raise

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, *, more: bool) -> None:
        self._refused = True
        while more and self._seen < self._limit + _DRAINED:
            message = await receive()
            self._seen += len(message.get("body", b""))
            more = message.get("more_body", False)
        await problem(413, f"the request is larger than {self._limit} bytes: send less at once")(scope, receive, send)
