"""Signing in and out, and the page of an invitation."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from backflip.studio.accounts.passwords import MAX_LENGTH, MIN_LENGTH
from backflip.studio.i18n import language_of
from backflip.studio.refusals import Refusal
from backflip.studio.sessions import address_of, begin, end, inside
from backflip.studio.state import studio_of
from backflip.studio.web import render

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

Word = Annotated[str, Form(max_length=MAX_LENGTH)]


@router.get("/login")
def login(request: Request, next: str = "/") -> Response:  # noqa: A002 - the address has this word
    """The form; a studio without accounts says where its link is."""
    return render(request, "login.html", next=inside(next), name="", problem="")


@router.post("/login")
def sign_in(request: Request, name: Word, password: Word, next: Word = "/") -> Response:  # noqa: A002
    """Signs in and goes on to where one wanted to be."""
    studio = studio_of(request)
    try:
        session = studio.accounts.sign_in(name, password, address=address_of(request))
    except Refusal as refusal:
        context = {"next": inside(next), "name": name, "problem": str(refusal)}
        page = render(request, "login.html", status=refusal.status, **context)
        page.headers.update(refusal.headers)
        return page
    response = RedirectResponse(inside(next), status_code=303)
    begin(request, response, session)
    return response


@router.post("/logout")
def logout(request: Request) -> Response:
    """Signs out."""
    response = RedirectResponse("/login", status_code=303)
    end(request, response)
    return response


@router.get("/invitation/{word}")
def invitation(request: Request, word: str) -> Response:
    """The form of an invitation that can still be used."""
    found = studio_of(request).accounts.invitations.open(word)
    return render(request, "invitation.html", invitation=found, shortest=MIN_LENGTH, name="", problem="")


@router.post("/invitation/{word}")
def accept(request: Request, word: str, name: Word, password: Word) -> Response:
    """Makes the account and signs it in."""
    accounts = studio_of(request).accounts
    found = accounts.invitations.open(word)
    try:
        session = accounts.accept(word, name, password, address=address_of(request), language=language_of(request))
    except Refusal as refusal:
        context = {"invitation": found, "shortest": MIN_LENGTH, "name": name, "problem": str(refusal)}
        return render(request, "invitation.html", status=refusal.status, **context)
    response = RedirectResponse("/", status_code=303)
    begin(request, response, session)
    return response
