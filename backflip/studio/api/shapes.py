"""Records of the store as the API shows them to one labeller."""

from __future__ import annotations

from backflip.feedback.store import Lease
from backflip.records import Candidate, Prompt, Question, content_id
from backflip.studio.api.models import CandidateOut, LeaseOut, MessageOut, PromptOut, QuestionOut
from backflip.studio.markdown import to_html
from backflip.studio.state import Studio
from backflip.studio.users import User

__all__ = ["lease_out", "media_url", "prompt_out", "question_out", "receipt", "shown_order"]


def shown_order(question: Question, labeller: str) -> list[str]:
    """The order in which this labeller sees the candidates: random by labeller and question, the same every time."""
    return sorted((c.id for c in question.candidates), key=lambda key: content_id("shown", labeller, question.id, key))


def receipt(studio: Studio, labeller: str, project: str, question: str) -> str:
    """Proves, however late, that this question was handed to this labeller."""
    return studio.signer.signature("lease", labeller, project, question)


def lease_out(studio: Studio, user: User, lease: Lease) -> LeaseOut:
    """A lease for the labeller who holds it."""
    token = receipt(studio, user.id, lease.project, lease.question.id)
    return LeaseOut(token=token, expires=lease.expires, question=question_out(studio, user, lease.question))


def question_out(studio: Studio, user: User, question: Question) -> QuestionOut:
    """A question in the shown order; neither its purpose nor who made the candidates is told."""
    shown = shown_order(question, user.id)
    candidates = {c.id: c for c in question.candidates}
    return QuestionOut(
        id=question.id,
        medium=question.medium,
        prompt=prompt_out(question.prompt) if question.prompt else None,
        candidates=[_candidate_out(studio, user, candidates[key]) for key in shown],
        shown=shown,
    )


def prompt_out(prompt: Prompt) -> PromptOut:
    """A prompt with its HTML."""
    messages = [MessageOut(role=m.role, content=m.content, html=to_html(m.content)) for m in prompt.messages]
    html = None if prompt.text is None else to_html(prompt.text)
    return PromptOut(id=prompt.id, messages=messages, text=prompt.text, html=html)


def media_url(studio: Studio, user: User, key: str) -> str:
    """Where this user, and nobody else, finds a clip."""
    return f"/media/{key}?for={studio.signer.signature('media', user.id, key)}"


def _candidate_out(studio: Studio, user: User, candidate: Candidate) -> CandidateOut:
    if candidate.media is not None:
        return CandidateOut(id=candidate.id, media=candidate.media, url=media_url(studio, user, candidate.media))
    text = candidate.text or ""
    return CandidateOut(id=candidate.id, text=text, html=to_html(text))
