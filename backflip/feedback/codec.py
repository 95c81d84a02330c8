"""Records as JSON text and back, lossless: what the store keeps in its payload columns.

A question's priority is not in its payload: the queue owns it, because it may change while the question waits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from backflip.records import Answer, Candidate, Demonstration, Labeller, Message, Prompt, Question

__all__ = [
    "decode_answer",
    "decode_demonstration",
    "decode_prompt",
    "decode_question",
    "dump",
    "encode_answer",
    "encode_demonstration",
    "encode_prompt",
    "encode_question",
]


def dump(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces; equal values give equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _prompt(prompt: Prompt) -> dict[str, Any]:
    messages = [[m.role, m.content] for m in prompt.messages]
    return {"messages": messages, "text": prompt.text, "user": prompt.user, "source": prompt.source}


def _prompt_back(data: Mapping[str, Any]) -> Prompt:
    messages = tuple(Message(role, content) for role, content in data["messages"])
    return Prompt(messages=messages, text=data["text"], user=data["user"], source=data["source"])


def _labeller(labeller: Labeller) -> dict[str, Any]:
    return {"id": labeller.id, "kind": labeller.kind, "groups": dict(labeller.groups)}


def encode_prompt(prompt: Prompt) -> str:
    """A prompt as canonical JSON, its user and source too."""
    return dump(_prompt(prompt))


def decode_prompt(payload: str) -> Prompt:
    """The inverse of `encode_prompt`."""
    return _prompt_back(json.loads(payload))


def encode_question(question: Question) -> str:
    """A question as canonical JSON, without its priority."""
    return dump(
        {
            "medium": question.medium,
            "prompt": _prompt(question.prompt) if question.prompt else None,
            "candidates": [[c.text, c.media, c.origin, c.ended] for c in question.candidates],
            "purpose": question.purpose,
        }
    )


def decode_question(payload: str, *, priority: float) -> Question:
    """The inverse of `encode_question`, with the priority that the queue holds now."""
    data = json.loads(payload)
    return Question(
        medium=data["medium"],
        candidates=tuple(Candidate(*fields) for fields in data["candidates"]),
        prompt=_prompt_back(data["prompt"]) if data["prompt"] else None,
        purpose=data["purpose"],
        priority=priority,
    )


def encode_answer(answer: Answer) -> str:
    """An answer as canonical JSON, with its labeller as they were when they answered."""
    return dump(
        {
            "question": answer.question,
            "labeller": _labeller(answer.labeller),
            "tiers": answer.tiers,
            "shown": answer.shown,
            "ratings": dict(answer.ratings),
            "flags": dict(answer.flags),
            "seconds": answer.seconds,
            "time": answer.time,
            "source": answer.source,
            "note": answer.note,
        }
    )


def decode_answer(payload: str) -> Answer:
    """The inverse of `encode_answer`."""
    data = json.loads(payload)
    data["labeller"] = Labeller(**data["labeller"])
    data["tiers"] = tuple(tuple(tier) for tier in data["tiers"])
    data["shown"] = tuple(data["shown"])
    data["flags"] = {candidate: tuple(flags) for candidate, flags in data["flags"].items()}
    return Answer(**data)


def encode_demonstration(demonstration: Demonstration) -> str:
    """A demonstration as canonical JSON."""
    return dump(
        {
            "prompt": _prompt(demonstration.prompt),
            "answer": demonstration.answer,
            "author": _labeller(demonstration.author),
            "source": demonstration.source,
        }
    )


def decode_demonstration(payload: str) -> Demonstration:
    """The inverse of `encode_demonstration`."""
    data = json.loads(payload)
    return Demonstration(
        prompt=_prompt_back(data["prompt"]),
        answer=data["answer"],
        author=Labeller(**data["author"]),
        source=data["source"],
    )
