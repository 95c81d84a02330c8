"""What labelling takes and gives, as OpenAPI documents it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from backflip.records import MAX_CANDIDATES, Medium, Role
from backflip.studio.labelling import QueueState

__all__ = [
    "AnswerIn",
    "Answered",
    "CandidateOut",
    "CountsOut",
    "ErrorOut",
    "Id",
    "In",
    "Key",
    "LeaseIn",
    "LeaseOut",
    "Leases",
    "MessageOut",
    "PassIn",
    "ProjectName",
    "PromptOut",
    "QuestionOut",
    "Text",
    "UndoIn",
    "Undone",
]

_WORD = r"^[A-Za-z0-9_.:-]+$"

Id = Annotated[str, Field(min_length=1, max_length=64, pattern=_WORD)]
Key = Annotated[
    str, Field(min_length=1, max_length=100, pattern=_WORD, description="idempotency: the same key, the same answer")
]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^/\x00]+$")]
ProjectName = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[^/\x00]+$")]
Text = Annotated[str, Field(max_length=100_000)]


class In(BaseModel):
    """A request: what it does not know it refuses."""

    model_config = ConfigDict(extra="forbid")


class ErrorText(BaseModel):
    """What was seen, what was wanted, and what to do next."""

    message: str


class ErrorOut(BaseModel):
    """Why a request was refused."""

    error: ErrorText


class MessageOut(BaseModel):
    """One turn of a dialogue; `html` is its Markdown, clean."""

    role: Role
    content: str
    html: str


class PromptOut(BaseModel):
    """A dialogue, or a text to be continued."""

    id: str
    messages: list[MessageOut] = []
    text: str | None = None
    html: str | None = None


class CandidateOut(BaseModel):
    """A text with its HTML, or a clip with its address."""

    id: str
    text: str | None = None
    html: str | None = None
    media: str | None = None
    url: str | None = None


class QuestionOut(BaseModel):
    """A question as one labeller sees it: the candidates are in the shown order."""

    id: str
    medium: Medium
    prompt: PromptOut | None
    candidates: list[CandidateOut]
    shown: list[str]


class LeaseOut(BaseModel):
    """A question that waits for this labeller until `expires` (seconds since 1970)."""

    token: str
    expires: float
    question: QuestionOut


class CountsOut(BaseModel):
    """A project at a glance, a few seconds old at most in a large store; test questions are not counted."""

    questions: int
    open: int
    leased: int
    answers: int
    wanted: int
    withdrawn: int


class Leases(BaseModel):
    """Questions, and how it stands with the project for this labeller."""

    leases: list[LeaseOut]
    state: QueueState
    counts: CountsOut


class Answered(Leases):
    """The answer's number in the store, and the next questions."""

    sequence: int


class LeaseIn(In):
    """Asks for the next questions.

    `have` are the questions that the page holds already. Leases of this labeller that are not among them (from before a
    reload) come first.
    """

    count: int = Field(1, ge=1, le=20)
    medium: Medium | None = None
    have: list[Id] = Field([], max_length=100)


class _Next(In):
    token: str = Field(max_length=200, description="of the lease; it is good however late")
    question: Id
    key: Key
    next: int = Field(0, ge=0, le=20, description="how many questions to bring at once")
    medium: Medium | None = None
    have: list[Id] | None = Field(None, max_length=100, description="as in a lease; without it, only new ones come")


class AnswerIn(_Next):
    """An answer: tiers from best to worst, each of tied candidates; no tier is "cannot tell"."""

    tiers: list[Annotated[list[Id], Field(min_length=1, max_length=MAX_CANDIDATES)]] = Field(max_length=MAX_CANDIDATES)
    shown: list[Id] = Field([], max_length=MAX_CANDIDATES)
    ratings: dict[Id, Annotated[int, Field(ge=1, le=7)]] = Field({}, max_length=MAX_CANDIDATES)
    flags: dict[Id, list[Annotated[str, Field(max_length=100)]]] = Field({}, max_length=MAX_CANDIDATES)
    seconds: float | None = Field(None, ge=0, le=1e9, allow_inf_nan=False)
    note: str = Field("", max_length=10_000)


class PassIn(_Next):
    """Gives a question to somebody else."""

    reason: Literal["skip", "outside_knowledge"]


class UndoIn(In):
    """Takes an own answer back."""

    sequence: int = Field(ge=1, le=2**31 - 1)


class Undone(BaseModel):
    """The question again."""

    lease: LeaseOut
