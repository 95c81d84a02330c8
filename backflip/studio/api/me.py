"""Oneself: who one is, one's answers and their withdrawal, password, and tokens for scripts."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from backflip.studio.access import projects_for
from backflip.studio.accounts.credentials import Token
from backflip.studio.api.models import In
from backflip.studio.i18n import LANGUAGES
from backflip.studio.refusals import NotFound, Refusal
from backflip.studio.sessions import address_of, begin
from backflip.studio.state import studio_of
from backflip.studio.users import LabellerUser, Role, SignedIn

__all__ = ["router"]

router = APIRouter(prefix="/api/me", tags=["me"])

Short = Annotated[str, Field(max_length=200)]


class Me(BaseModel):
    """The user behind the request."""

    id: str
    name: str
    role: Role
    kind: str
    groups: dict[str, str]
    language: str
    projects: list[str]


class MeIn(In):
    """What one says of oneself; what is left out stays."""

    language: str | None = Field(None, max_length=20)
    groups: dict[Annotated[str, Field(min_length=1, max_length=50)], Short] | None = Field(None, max_length=20)


class PasswordIn(In):
    """The password of now, and the new one."""

    old: str = Field(max_length=1000)
    new: str = Field(max_length=1000)


class TokenIn(In):
    """What the token is for."""

    label: str = Field("", max_length=100)


class NewToken(BaseModel):
    """A token: it is shown this once."""

    token: str


class OwnAnswer(BaseModel):
    """An answer of one's own; `tiers` from best to worst."""

    sequence: int
    question: str
    tiers: list[list[str]]
    time: str
    withdrawn: bool


class WithdrawIn(In):
    """Which of one's answers shall count no more: some by number, or all so far."""

    sequences: list[Annotated[int, Field(ge=1, le=2**31 - 1)]] | Literal["all"]
    reason: str = Field("", max_length=1000)


class Withdrawn(BaseModel):
    """How many answers count no more now."""

    withdrawn: int


@router.get("")
def me(request: Request, user: SignedIn) -> Me:
    """Who one is."""
    names = [project.name for project in projects_for(studio_of(request), user)]
    groups = dict(user.groups)
    return Me(
        id=user.id,
        name=user.name,
        role=user.role,
        kind=user.kind,
        groups=groups,
        language=user.language,
        projects=names,
    )


@router.patch("", status_code=204)
def describe(request: Request, user: SignedIn, said: MeIn) -> None:
    """Sets the language, or what one says of oneself; empty groups say nothing."""
    people = studio_of(request).accounts.people
    if said.language is not None:
        if said.language not in LANGUAGES:
            raise Refusal(f"language is {said.language!r}; wanted one of {', '.join(LANGUAGES)}")
        people.change(user.id, language=said.language)
    if said.groups is not None:
        people.describe(user, {name: value for name, value in said.groups.items() if value.strip()})


@router.post("/password", status_code=204)
def change_password(request: Request, response: Response, user: SignedIn, given: PasswordIn) -> None:
    """Sets a new password; all other sessions end."""
    accounts = studio_of(request).accounts
    session = accounts.change_password(user, given.old, given.new, address=address_of(request))
    begin(request, response, session)


@router.get("/tokens")
def tokens(request: Request, user: SignedIn) -> list[Token]:
    """One's tokens for scripts."""
    return studio_of(request).accounts.credentials.tokens(user.id)


@router.post("/tokens", status_code=201)
def make_token(request: Request, user: SignedIn, asked: TokenIn) -> NewToken:
    """A new token, which may do what oneself may."""
    studio = studio_of(request)
    with studio.store.transaction():
        word = studio.accounts.credentials.make_token(user.id, asked.label)
        studio.accounts.audit.record(user.id, "made a token", asked.label, address=address_of(request))
    return NewToken(token=word)


@router.delete("/tokens/{token}", status_code=204)
def revoke_token(request: Request, user: SignedIn, token: Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]) -> None:
    """Revokes a token by its id."""
    studio = studio_of(request)
    if not studio.accounts.credentials.revoke_token(user.id, token):
        raise NotFound("you have no such token")
    studio.accounts.audit.record(user.id, "revoked a token", token, address=address_of(request))


@router.get("/answers")
def own_answers(
    request: Request,
    user: LabellerUser,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[OwnAnswer]:
    """One's own last answers, newest first."""
    found = studio_of(request).store.last_answers(user.id, before=before, limit=limit)
    return [
        OwnAnswer(
            sequence=numbered.sequence,
            question=numbered.answer.question,
            tiers=[list(tier) for tier in numbered.answer.tiers],
            time=numbered.answer.time,
            withdrawn=withdrawn,
        )
        for numbered, withdrawn in found
    ]


@router.post("/withdrawals")
def withdraw(request: Request, user: LabellerUser, asked: WithdrawIn) -> Withdrawn:
    """Own answers count no more: what is trained from now on leaves them out."""
    studio = studio_of(request)
    reason = asked.reason or "by the labeller"
    with studio.store.transaction() as store:
        if asked.sequences == "all":
            count = store.withdraw(user.id, reason)
        else:
            if not store.gave(user.id, asked.sequences):
                raise NotFound("not all of these answers are yours")
            count = sum(store.withdraw(sequence, reason) for sequence in asked.sequences)
        studio.accounts.audit.record(user.id, "withdrew own answers", address=address_of(request), count=count)
    return Withdrawn(withdrawn=count)
