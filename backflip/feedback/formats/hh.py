"""Anthropic's HH: `chosen` and `rejected` are whole dialogues that share their beginning.

Source: github.com/anthropics/hh-rlhf. Turns begin with "\\n\\nHuman: " and "\\n\\nAssistant: ". The prompt is what
both dialogues share, up to the last Human turn; the candidates are the rest. In a few rows one side has two Assistant
turns running, or sides differ before the last turn: then the candidate holds several turns, marks included, and is
exported as it came.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from backflip.errors import DataError
from backflip.feedback.formats.files import Row
from backflip.feedback.formats.ranked import Imported, Ranked, TextPair, by_line, imported_pair, text_pairs
from backflip.records import Message, Prompt

__all__ = ["read", "write"]

_TURN = re.compile(r"\n\n(Human|Assistant):(?: |\Z)")


class _Turn(NamedTuple):
    who: str
    text: str


def read(rows: Sequence[Row]) -> Imported:
    """One pair a row, by an unnamed labeller "hh"; raises DataError at a dialogue without turns or shared prompt."""
    return by_line(rows, _parse)


def write(ranked: Iterable[Ranked]) -> Iterator[dict[str, Any]]:
    """The answers' pairs (ties and "cannot tell" have none) as dialogues; what is kept is prompt, better and worse.

    Raises DataError if a prompt is not a dialogue of user and assistant, or a text would be read back otherwise.
    """
    for pair in text_pairs(ranked, "hh"):
        start = "".join(_mark(_speaker(m.role)) + m.content for m in pair.prompt.messages)
        chosen, rejected = (start + _mark("Assistant") + text for text in (pair.better, pair.worse))
        if not pair.prompt.messages or not _reads_back(pair, chosen, rejected):
            raise DataError(
                f"prompt {pair.prompt.id[:12]} is plain text, or it or a reply has a turn's mark (a blank line and "
                "'Human: ' or 'Assistant: ') inside; format 'hh' cannot hold that: use 'trl' or 'jsonl'"
            )
        yield {"chosen": chosen, "rejected": rejected}


def _parse(row: Row) -> list[Ranked]:
    better, worse = _turns(row, "chosen"), _turns(row, "rejected")
    shared = _shared(better, worse)
    if not shared:
        raise row.error("rejected", "shares no opening Human turn with 'chosen'; wanted two ends of one dialogue")
    for field, turns in (("chosen", better), ("rejected", worse)):
        if len(turns) == shared or turns[shared].who != "Assistant":
            raise row.error(field, "has no Assistant turn after the prompt that both sides share; wanted a reply")
    prompt = Prompt(tuple(Message(_role(t.who), t.text) for t in better[:shared]), source="hh")
    texts = {"better": _reply(better[shared:]), "worse": _reply(worse[shared:])}
    return [imported_pair(row, prompt, labeller="hh", **texts)]


def _turns(row: Row, field: str) -> list[_Turn]:
    opening, *rest = _TURN.split(row.text(field))
    if opening or not rest:
        raise row.error(field, "does not begin with a Human or Assistant turn (a blank line, then 'Human: ')")
    return [_Turn(who, text) for who, text in zip(rest[::2], rest[1::2], strict=True)]


def _shared(left: list[_Turn], right: list[_Turn]) -> int:
    """How many turns are the prompt: the longest common beginning that ends with a Human turn."""
    count = 0
    for index, (a, b) in enumerate(zip(left, right, strict=False), 1):
        if a != b:
            break
        count = index if a.who == "Human" else count
    return count


def _reply(turns: list[_Turn]) -> str:
    return turns[0].text + "".join(_mark(t.who) + t.text for t in turns[1:])


def _mark(who: str) -> str:
    return f"\n\n{who}: "


def _role(who: str) -> Any:
    return "user" if who == "Human" else "assistant"


def _speaker(role: str) -> str:
    if role == "system":
        raise DataError("a prompt has a system message, which format 'hh' cannot hold; use 'trl' or 'jsonl'")
    return "Human" if role == "user" else "Assistant"


def _reads_back(pair: TextPair, chosen: str, rejected: str) -> bool:
    (question, answer), *_ = _parse(Row("", 0, {"chosen": chosen, "rejected": rejected}))
    best = next(c.text for c in question.candidates if c.id == answer.tiers[0][0])
    worst = next(c.text for c in question.candidates if c.id == answer.tiers[1][0])
    prompt = question.prompt
    return prompt is not None and prompt.id == pair.prompt.id and (best, worst) == (pair.better, pair.worse)
