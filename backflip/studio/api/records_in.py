"""Records as a client sends them, and as the store takes them."""

from __future__ import annotations

from pydantic import Field

from backflip.feedback.projects import EVERYBODY
from backflip.records import MAX_CANDIDATES, MIN_CANDIDATES, Candidate, Medium, Message, Prompt, Question, Role
from backflip.studio.api.models import In, Text
from backflip.studio.refusals import Refusal

__all__ = ["CandidateIn", "MessageIn", "PromptIn", "QuestionIn", "QuestionsIn"]


class MessageIn(In):
    """One turn of a dialogue."""

    role: Role
    content: Text


class PromptIn(In):
    """A dialogue that ends with the user's turn, or a text to be continued."""

    messages: list[MessageIn] = Field([], max_length=200)
    text: Text | None = None
    user: str | None = Field(None, max_length=200, description="who wrote it, if that is known")
    source: str = Field("", max_length=200)

    def record(self) -> Prompt:
        """The prompt; DataError if it is neither or both."""
        messages = tuple(Message(m.role, m.content) for m in self.messages)
        return Prompt(messages, self.text, self.user, self.source)


class CandidateIn(In):
    """A text, or a clip by its key."""

    text: Text | None = None
    media: str | None = Field(None, max_length=100)
    origin: str = Field("", max_length=200)
    ended: bool = True

    def record(self) -> Candidate:
        """The candidate; DataError if it is neither or both."""
        return Candidate(self.text, self.media, self.origin, self.ended)


class QuestionIn(In):
    """A question; `reference` (tiers of places in `candidates`) is a maker's answer, for gold and qualification."""

    medium: Medium = "text"
    prompt: PromptIn | None = None
    candidates: list[CandidateIn] = Field(min_length=MIN_CANDIDATES, max_length=MAX_CANDIDATES)
    purpose: str = Field("train", min_length=1, max_length=100)
    priority: float = Field(0.0, allow_inf_nan=False)
    reference: list[list[int]] | None = Field(None, max_length=MAX_CANDIDATES)

    def record(self) -> Question:
        """The question; DataError if it is not a valid one."""
        prompt = self.prompt.record() if self.prompt else None
        return Question(self.medium, tuple(c.record() for c in self.candidates), prompt, self.purpose, self.priority)

    def tiers(self) -> tuple[tuple[str, ...], ...]:
        """The reference by candidates' ids."""
        ids = [candidate.record().id for candidate in self.candidates]
        places = [place for tier in self.reference or [] for place in tier]
        if any(not 0 <= place < len(ids) for place in places):
            raise Refusal(f"reference {self.reference} names a candidate that is not there; wanted 0 to {len(ids) - 1}")
        return tuple(tuple(ids[place] for place in tier) for tier in self.reference or [])


class QuestionsIn(In):
    """Questions for the queue; without `overlap` the project's own is taken."""

    questions: list[QuestionIn] = Field(min_length=1, max_length=10_000)
    overlap: int | None = Field(None, ge=1, lt=EVERYBODY)
