"""What the API takes and gives, as OpenAPI documents it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from backflip.records import MAX_CANDIDATES, Medium, Role

__all__ = ["AnswerIn", "Answered", "CandidateOut", "LeaseIn", "LeaseOut", "Leases", "PassIn", "QuestionOut", "UndoIn"]

Id = Annotated[str, Field(min_length=1, max_length=64)]
Key = Annotated[
    str, Field(min_length=1, max_length=100, description="idempotency: the same key again, the same answer")
]
QueueState = Literal["open", "empty", "paused", "qualification"]


class In(BaseModel):
    """A request: what it does not know it refuses."""

    model_config = ConfigDict(extra="forbid")


class MessageOut(BaseModel):
    """One turn of a dialogue; `html` is its Markdown, clean."""

    role: Role
    content: str
    html: str


class PromptOut(BaseModel):
    """A dialogue, or a text to be continued."""

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


class LeaseIn(In):
    """Asks for the next questions."""

    count: int = Field(1, ge=1, le=20)
    medium: Medium | None = None


class Leases(BaseModel):
    """Questions, and how it stands with the project for this labeller."""

    leases: list[LeaseOut]
    state: QueueState
    counts: dict[str, int] = {}


class AnswerIn(In):
    """An answer: tiers from best to worst, each of tied candidates; none is "cannot tell"."""

    token: str = Field(max_length=200)
    question: Id
    tiers: list[Annotated[list[Id], Field(min_length=1, max_length=MAX_CANDIDATES)]] = Field(max_length=MAX_CANDIDATES)
    shown: list[Id] = Field(default=[], max_length=MAX_CANDIDATES)
    ratings: dict[Id, Annotated[int, Field(ge=1, le=7)]] = {}
    flags: dict[Id, list[Annotated[str, Field(max_length=100)]]] = {}
    seconds: float | None = Field(None, ge=0, le=1e9, allow_inf_nan=False)
    note: str = Field("", max_length=10_000)
    key: Key
    next: int = Field(0, ge=0, le=20, description="how many questions to bring at once")
    medium: Medium | None = None


class Answered(Leases):
    """The answer's number in the store, and the next questions."""

    sequence: int


class PassIn(In):
    """Gives a question to somebody else."""

    token: str = Field(max_length=200)
    question: Id
    reason: Literal["skip", "outside_knowledge"]
    key: Key
    next: int = Field(0, ge=0, le=20)
    medium: Medium | None = None


class UndoIn(In):
    """Takes an own answer back."""

    sequence: int = Field(ge=1, le=2**31 - 1)


class Undone(BaseModel):
    """The question again."""

    lease: LeaseOut
