"""Prompts, and questions that nobody has answered yet, from JSON lines.

A prompt is `{"prompt": a text or a list of {"role", "content"}}` or `{"text": to be continued}`, perhaps with `user`. A
question has beside it `"answers": [a text or {"text", "ended", "origin"}, ..]`, or `"clips": [a key of media, ..]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from backflip.feedback.formats.files import Row, read_rows
from backflip.records import Candidate, Message, Prompt, Question

__all__ = ["read_prompts", "read_questions"]


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a file. Raises DataError naming file, line and field."""
    prompts = []
    for row in read_rows(path):
        with row.at():
            prompts.append(_prompt(row, path.name))
    return prompts


def read_questions(path: Path, *, purpose: str = "train", priority: float = 0.0) -> list[Question]:
    """The questions of a file. Raises DataError naming file, line and field."""
    questions = []
    for row in read_rows(path):
        if "made" in row.data:  # a line that says where the file comes from
            continue
        with row.at():
            medium, field = ("clip", "clips") if "clips" in row.data else ("text", "answers")
            asked = _prompt(row, path.name) if medium == "text" or "prompt" in row.data or "text" in row.data else None
            found = tuple(_candidates(row, field))
            with row.at(field):
                questions.append(Question(medium, found, asked, purpose, priority))  # type: ignore[arg-type]
    return questions


def _prompt(row: Row, source: str) -> Prompt:
    user = row.optional_text("user")
    if "text" in row.data:
        return Prompt(text=row.text("text"), user=user, source=source)
    if isinstance(row.data.get("prompt"), list):
        turns = [row.nested(f"prompt[{i}]", turn) for i, turn in enumerate(row.items("prompt"))]
        with row.at("prompt"):
            messages = tuple(Message(turn.text("role"), turn.text("content")) for turn in turns)  # type: ignore[arg-type]
            return Prompt(messages=messages, user=user, source=source)
    return Prompt.ask(row.text("prompt"), user=user, source=source)


def _candidates(row: Row, field: str) -> Iterator[Candidate]:
    items: Sequence[object] = row.items(field)
    for i, item in enumerate(items):
        if field == "clips" and isinstance(item, str):
            yield Candidate(media=item)
        elif isinstance(item, str):
            yield Candidate(text=item)
        else:
            inner = row.nested(f"{field}[{i}]", item)
            ended = inner.data.get("ended", True) is not False
            yield Candidate(text=inner.text("text"), origin=inner.optional_text("origin") or "", ended=ended)
