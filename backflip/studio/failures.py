"""Errors on their way to the client: JSON for the API, a page (or the way to sign in) for a browser."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from backflip.errors import BackflipError, DataError, FeedbackError
from backflip.studio.refusals import NotSignedIn, Refusal
from backflip.studio.web import render

__all__ = ["install", "problem"]


def install(app: FastAPI) -> None:
    """Tells the application what to make of errors; any other exception is a bug, and its traceback is logged."""
    app.add_exception_handler(BackflipError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def problem(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error as the API words it."""
    return JSONResponse({"error": {"message": message}}, status_code=status, headers=headers)


def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, NotSignedIn) and _is_page(request):
        return RedirectResponse(f"/login?next={quote(request.url.path)}", status_code=303)
    if isinstance(error, Refusal):
        return _answer(request, error.status, str(error), dict(error.headers))
    status = 422 if isinstance(error, DataError) else 409 if isinstance(error, FeedbackError) else 500
    return _answer(request, status, str(error))


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return _answer(request, 422, f"{place}: {first['msg']}")


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(request, error.status_code, str(error.detail), dict(error.headers or {}))


def _answer(request: Request, status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    if not _is_page(request):
        return problem(status, message, headers)
    page = render(request, "error.html", status=status, title=HTTPStatus(status).phrase, message=message)
    page.headers.update(headers or {})
    return page


def _is_page(request: Request) -> bool:
    return not request.url.path.startswith(("/api/", "/media/", "/static/"))
