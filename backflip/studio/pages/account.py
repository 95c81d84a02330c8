"""Your account: language, groups, password, tokens, and your own answers, each of which you may withdraw."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from backflip.studio.access import projects_for
from backflip.studio.accounts.passwords import MAX_LENGTH, MIN_LENGTH
from backflip.studio.accounts.people import LOCAL
from backflip.studio.api import me
from backflip.studio.i18n import LANGUAGES
from backflip.studio.refusals import Refusal
from backflip.studio.sessions import address_of, begin
from backflip.studio.state import studio_of
from backflip.studio.web import LabellerUser, SignedIn, Studio, User, render

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

Word = Annotated[str, Form(max_length=MAX_LENGTH)]
_PAGE = 25  # own answers a page
_YEAR = 365 * 24 * 3600
_MOST_GROUPS = 20


@router.get("/account")
def account(request: Request, user: SignedIn, before: int | None = None, said: str = "") -> Response:
    """The page."""
    return _page(request, user, before=before, said=said)


@router.post("/language")
def language(request: Request, language: Word, next: Word = "/") -> Response:  # noqa: A002 - the form's word
    """Sets the language: of the person who is signed in, and of this browser."""
    if language not in LANGUAGES:
        raise Refusal(f"language is {language[:40]!r}; wanted one of {', '.join(LANGUAGES)}")
    user: User | None = request.state.user
    if user is not None:
        studio_of(request).accounts.people.change(user.id, language=language)
    inside = next if next.startswith("/") and not next.startswith(("//", "/\\")) else "/"
    response = RedirectResponse(inside, status_code=303)
    response.set_cookie("language", language, max_age=_YEAR, samesite="lax", secure=studio_of(request).settings.https)
    return response


@router.post("/account/groups")
async def groups(request: Request, user: SignedIn) -> Response:
    """Sets what one says of oneself; what is left empty is not said."""
    form = await request.form()
    names = [str(name)[:60].strip() for name in form.getlist("name")][:_MOST_GROUPS]
    values = [str(value)[:100].strip() for value in form.getlist("value")][:_MOST_GROUPS]
    said = {name: value for name, value in zip(names, values, strict=False) if name and value}
    studio = studio_of(request)
    with studio.store.transaction():
        studio.accounts.people.describe(user, said)
        studio.accounts.audit.record(user.id, "changed own groups", address=address_of(request))
    return _back("groups")


@router.post("/account/password")
def password(request: Request, user: SignedIn, old: Word, new: Word, again: Word) -> Response:
    """Sets a new password; every other session of this person ends."""
    studio = studio_of(request)
    try:
        if new != again:
            raise Refusal("the two new passwords differ: type the new one twice")
        session = studio.accounts.change_password(user, old, new, address=address_of(request))
    except Refusal as refusal:
        return _page(request, user, status=refusal.status, problem={"password": str(refusal)})
    response = _back("password")
    begin(request, response, session)
    return response


@router.post("/account/tokens")
def make_token(request: Request, user: SignedIn, label: Word = "") -> Response:
    """Makes a token and shows it, this once."""
    made = me.make_token(request, user, me.TokenIn(label=label.strip()[:100] or "script"))
    return _page(request, user, token=made.token)


@router.post("/account/tokens/{token}/revoke")
def revoke_token(request: Request, user: SignedIn, token: str) -> Response:
    """Revokes one of the own tokens."""
    me.revoke_token(request, user, token)
    return _back("revoked")


@router.post("/account/answers/{sequence}/withdraw")
def withdraw(request: Request, user: LabellerUser, sequence: int) -> Response:
    """Withdraws an own answer."""
    me.withdraw(request, user, me.WithdrawIn.model_validate({"sequences": [sequence]}))
    return _back("withdrawn")


def _back(said: str) -> Response:
    return RedirectResponse(f"/account?said={said}", status_code=303)


def _page(
    request: Request,
    user: User,
    *,
    status: int = 200,
    before: int | None = None,
    said: str = "",
    token: str = "",
    problem: dict[str, str] | None = None,
) -> Response:
    studio = studio_of(request)
    asked = sorted({name for project in projects_for(studio, user) for name in project.groups})
    answers, more = _own_answers(studio, user, before)
    return render(
        request,
        "account.html",
        status=status,
        said=said,
        token=token,
        problem=problem or {},
        shortest=MIN_LENGTH,
        with_password=studio.settings.accounts and user.id != LOCAL,
        tokens=studio.accounts.credentials.tokens(user.id),
        asked=asked,
        others={name: value for name, value in user.groups.items() if name not in asked},
        answers=answers,
        before=answers[-1]["number"] if answers and more else None,
        first=before is None,
    )


def _own_answers(studio: Studio, user: User, before: int | None) -> tuple[list[dict[str, Any]], bool]:
    """A page of the own answers, newest first, and whether there are older ones."""
    found = studio.store.last_answers(user.id, before=before, limit=_PAGE + 1)
    shown = [
        {
            "number": numbered.sequence,
            "time": numbered.answer.time,
            "question": studio.store.question(numbered.answer.question),
            "answer": numbered.answer,
            "withdrawn": gone,
        }
        for numbered, gone in found[:_PAGE]
    ]
    return shown, len(found) > _PAGE
