"""The OpenAI-compatible API: `/v1/chat/completions`, streaming or not, and `/v1/models`: an application of its own."""

from __future__ import annotations

import hmac
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from backflip import __version__
from backflip.chat.reply import Finish, Shown
from backflip.errors import BackflipError, DataError, ModelError
from backflip.studio.chat.service import Begun, Event, Service
from backflip.studio.chat.stream import EventStream, while_there
from backflip.studio.chat.wire import Completion, Wanted, error_body, sse
from backflip.studio.refusals import NotSignedIn, Refusal

__all__ = ["create_api"]

_KINDS: Final = {401: "authentication_error", 429: "rate_limit_error", 503: "server_error", 500: "server_error"}
_ENDED: Final = "the server ended the answer before it was whole; ask again"

router = APIRouter(prefix="/v1")


def create_api(service: Service, *, key: str = "") -> FastAPI:
    """The application over a service; with a key it answers only those who send it."""
    app = FastAPI(title="Backflip chat", version=__version__, docs_url=None, redoc_url=None)
    app.state.service, app.state.key = service, key
    app.include_router(router, dependencies=[Depends(_known)])
    app.add_exception_handler(BackflipError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    return app


def _known(request: Request) -> None:
    key: str = request.app.state.key
    if key and not hmac.compare_digest(request.headers.get("authorization", "").encode(), f"Bearer {key}".encode()):
        raise NotSignedIn


@router.get("/models")
def models(request: Request) -> dict[str, Any]:
    """The models that answer here; the first is the default."""
    return {"object": "list", "data": [_card(name) for name in _service(request).models]}


@router.get("/models/{name:path}")
def model(request: Request, name: str) -> Response:
    """One of them."""
    if name not in _service(request).models:
        return JSONResponse(error_body(f"there is no model {name!r}", "invalid_request_error", param="model"), 404)
    return JSONResponse(_card(name))


@router.post("/chat/completions")
async def complete(request: Request, wanted: Wanted) -> Response:
    """An answer to a dialogue."""
    wanted.refuse()
    service = _service(request)
    client = request.client.host if request.client else "unknown"
    events = service.answer(wanted.ask(client, longest=service.places.limits.longest))
    begun = await anext(events)  # refusals come before it
    assert isinstance(begun, Begun)
    completion, headers = Completion(begun), {"X-Backflip-Left-Out": str(begun.left_out)}
    if wanted.stream:
        return EventStream(_pieces(events, completion, counted=wanted.counted), headers)
    whole = await while_there(request, _whole(events))
    if whole is None:
        return Response(status_code=499)  # nobody reads it
    text, finish = whole
    if finish.reason in ("cancelled", "failed"):
        return JSONResponse(error_body(_ENDED, "server_error"), 503, headers)
    return JSONResponse(completion.whole(text, finish), headers=headers)


async def _whole(events: AsyncGenerator[Event, None]) -> tuple[str, Finish]:
    text = ""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Finish):
                return text, event
            text += event.text if isinstance(event, Shown) else ""
    return text, Finish("failed", 0)


async def _pieces(
    events: AsyncGenerator[Event, None], completion: Completion, *, counted: bool
) -> AsyncGenerator[str, None]:
    async with aclosing(events):
        yield sse(completion.piece(role="assistant", content=""))
        async for event in events:
            if isinstance(event, Shown):
                yield sse(completion.piece(content=event.text))
            elif isinstance(event, Finish) and event.reason in ("cancelled", "failed"):
                yield sse(error_body(_ENDED, "server_error"))
            elif isinstance(event, Finish):
                yield sse(completion.end(event))
                if counted:
                    yield sse(completion.count(event))
        yield sse("[DONE]")


def _card(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "backflip"}


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


# --- errors


def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, NotSignedIn):
        return _problem(401, "the API key is missing or wrong; send Authorization: Bearer KEY", code="invalid_api_key")
    if isinstance(error, Refusal):
        return _problem(error.status, str(error), headers=dict(error.headers))
    if isinstance(error, DataError):
        return _problem(400, str(error))
    if isinstance(error, ModelError):  # the engine takes no more, or is closed
        return _problem(503, str(error), headers={"Retry-After": "2"})
    return _problem(500, str(error))


def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return _problem(400, f"{place or 'the request'}: {first['msg']}", param=place or None)


def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(error.status_code, str(error.detail), headers=dict(error.headers or {}))


def _problem(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    kind = _KINDS.get(status, "invalid_request_error")
    return JSONResponse(error_body(message, kind, param=param, code=code), status, headers)
