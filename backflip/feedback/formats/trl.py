"""TRL's preference rows, `prompt`, `chosen`, `rejected`: plain strings, or lists of {role, content} messages.

Source: TRL's "Dataset formats", explicit prompt. Other columns are not read. A plain prompt is text to be continued,
a list is a dialogue; each reply is then a list of one assistant message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from backflip.feedback.formats.files import Row
from backflip.feedback.formats.ranked import Imported, Ranked, by_line, imported_pair, text_pairs
from backflip.records import Message, Prompt, Role

__all__ = ["read", "write"]


def read(rows: Sequence[Row]) -> Imported:
    """One pair a row, by an unnamed labeller "trl"; raises DataError at a missing column or a malformed message."""
    return by_line(rows, _parse)


def write(ranked: Iterable[Ranked]) -> Iterator[dict[str, Any]]:
    """The answers' pairs (ties and "cannot tell" have none); what is kept is prompt, better and worse.

    Raises DataError at a clip.
    """
    for prompt, better, worse in text_pairs(ranked, "trl"):
        if prompt.messages:
            asked: Any = [{"role": m.role, "content": m.content} for m in prompt.messages]
            yield {"prompt": asked, "chosen": _said(better), "rejected": _said(worse)}
        else:
            yield {"prompt": prompt.text, "chosen": better, "rejected": worse}


def _parse(row: Row) -> list[Ranked]:
    if "prompt" not in row.data:
        raise row.error("prompt", "is missing; rows of two whole dialogues are read by format 'hh'")
    if isinstance(row.data["prompt"], str):
        prompt = Prompt(text=row.text("prompt"), source="trl")
        better, worse = row.text("chosen"), row.text("rejected")
    else:
        with row.at("prompt"):
            prompt = Prompt(tuple(_messages(row, "prompt")), source="trl")
        better, worse = _reply(row, "chosen"), _reply(row, "rejected")
    return [imported_pair(row, prompt, better=better, worse=worse, labeller="trl")]


def _messages(row: Row, field: str) -> Iterator[Message]:
    for index, item in enumerate(row.items(field)):
        message = row.nested(f"{field}[{index}]", item)
        with message.at("role"):
            yield Message(cast("Role", message.text("role")), message.text("content"))


def _reply(row: Row, field: str) -> str:
    messages = list(_messages(row, field))
    if [m.role for m in messages] != ["assistant"]:
        raise row.error(field, f"has roles {[m.role for m in messages]}; wanted one assistant message")
    return messages[0].content


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]
