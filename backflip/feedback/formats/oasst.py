"""OpenAssistant's trees: flat messages with `parent_id` and `rank`; ranked siblings are one K-wise ranking.

Source: OASST1, JSON lines. The prompt is the path from the root to the parent; rank 0 is the best reply and equal
ranks are a tie. Ranks are an aggregate of several people, so the labeller is "oasst". A prompt's user is its root's
author: then a split by user keeps a tree whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from backflip.errors import DataError
from backflip.feedback.formats.files import Row
from backflip.feedback.formats.ranked import Imported, Ranked, Skip, Skipped, candidate_texts
from backflip.records import (
    MAX_CANDIDATES,
    MIN_CANDIDATES,
    Answer,
    Candidate,
    Demonstration,
    Labeller,
    Message,
    Prompt,
    Question,
    Role,
    content_id,
)

__all__ = ["read", "read_demonstrations", "write"]

_ROLES: dict[str, Role] = {"prompter": "user", "assistant": "assistant"}
_LABELLER = Labeller("oasst", "import")


class _Node(NamedTuple):
    row: Row
    id: str
    parent: str | None
    role: Role
    text: str
    rank: int | None

    @property
    def author(self) -> str:
        return self.row.optional_text("model_name") or self.row.optional_text("user_id") or ""


def read(rows: Sequence[Row]) -> Imported:
    """One answer for each message with two or more ranked replies.

    Skipped, with the reason: one ranked reply alone, more than nine, a path whose root is not in the file; of two
    replies with the same text the better-ranked one stays. Raises DataError at a malformed message or a circle.
    """
    nodes = _nodes(rows)
    ranked, skipped = [], []
    for replies in _ranked_replies(nodes):
        distinct = _distinct(replies)
        if len(distinct) < len(replies):
            skipped.append(
                Skipped(replies[0].row.place, "a ranked sibling has the same text: the better rank was kept")
            )
        try:
            with distinct[0].row.at():
                ranked.append(_ranking(nodes, distinct))
        except Skip as skip:
            skipped.append(Skipped(distinct[0].row.place, str(skip)))
    return Imported(ranked, skipped)


def read_demonstrations(rows: Sequence[Row]) -> list[Demonstration]:
    """The best-ranked reply to each message, unless it was deleted, is empty, or has lost its root.

    Raises DataError as `read`.
    """
    nodes = _nodes(rows)
    result = []
    for best, *_ in _ranked_replies(nodes):
        path = _path(nodes, best)
        if path and best.text.strip() and best.row.data.get("deleted") is not True:
            with best.row.at():
                author = Labeller(best.author or "oasst", "import")
                result.append(Demonstration(_prompt(path), best.text, author, source=best.row.file))
    return result


def write(ranked: Iterable[Ranked]) -> Iterator[dict[str, Any]]:
    """Trees from rankings: kept are the prompt with its user, the candidates with their origins, and the tiers.

    Raises DataError at a clip, a prompt with system message or without messages, a "cannot tell", and at two answers
    about one prompt: a message has one rank.
    """
    messages: dict[str, dict[str, Any]] = {}
    asked: set[str] = set()
    for question, answer in ranked:
        answer.check(question)
        parent = _write_path(messages, question)
        if parent in asked:
            raise DataError(
                f"two answers are about prompt of question {question.id[:12]}; format 'oasst' holds one a prompt"
            )
        asked.add(parent)
        _write_replies(messages, question, answer, parent)
    yield from messages.values()


def _nodes(rows: Sequence[Row]) -> dict[str, _Node]:
    nodes: dict[str, _Node] = {}
    for row in rows:
        node = _node(row)
        if node.id in nodes:
            raise row.error("message_id", f"is also that of {nodes[node.id].row.place}; wanted one message an id")
        nodes[node.id] = node
    return nodes


def _node(row: Row) -> _Node:
    role, rank = row.text("role"), None if row.data.get("rank") is None else row.whole("rank")
    if role not in _ROLES:
        raise row.error("role", f"is {role!r}; wanted prompter or assistant")
    return _Node(row, row.text("message_id"), row.optional_text("parent_id"), _ROLES[role], row.text("text"), rank)


def _ranked_replies(nodes: dict[str, _Node]) -> list[list[_Node]]:
    """The ranked siblings below each message, best first; messages in the file's order."""
    groups: dict[str, list[_Node]] = {}
    for node in nodes.values():
        if node.rank is not None and node.parent is not None and node.role == "assistant":
            groups.setdefault(node.parent, []).append(node)
    return [sorted(group, key=_rank) for group in groups.values()]


def _distinct(replies: list[_Node]) -> list[_Node]:
    """Of replies with the same text the first, which is the better ranked."""
    first: dict[str, _Node] = {}
    for reply in replies:
        first.setdefault(reply.text, reply)
    return list(first.values())


def _rank(node: _Node) -> int:
    return node.rank if node.rank is not None else 0


def _ranking(nodes: dict[str, _Node], replies: list[_Node]) -> Ranked:
    if not MIN_CANDIDATES <= len(replies) <= MAX_CANDIDATES:
        raise Skip(f"{len(replies)} different ranked replies; a question has {MIN_CANDIDATES} to {MAX_CANDIDATES}")
    path = _path(nodes, replies[0])
    if not path:
        raise Skip("the path to the tree's root is not in the file: what was asked is unknown")
    candidates = {n.id: Candidate(n.text, origin=n.author) for n in replies}
    question = Question("text", tuple(candidates.values()), _prompt(path))
    tiers = tuple(tuple(candidates[n.id].id for n in tier) for _, tier in groupby(replies, key=_rank))
    return Ranked(question, Answer(question.id, _LABELLER, tiers, source=replies[0].row.file))


def _path(nodes: dict[str, _Node], node: _Node) -> list[_Node]:
    """From the root to the node's parent; empty if a message on the way is missing."""
    path: list[_Node] = []
    parent = node.parent
    while parent is not None:
        if parent not in nodes:
            return []
        if len(path) > len(nodes):
            raise node.row.error("parent_id", "leads round in a circle; wanted a tree")
        path.append(nodes[parent])
        parent = nodes[parent].parent
    return path[::-1]


def _prompt(path: list[_Node]) -> Prompt:
    user = path[0].row.optional_text("user_id")
    return Prompt(tuple(Message(n.role, n.text) for n in path), user=user, source="oasst")


def _write_path(messages: dict[str, dict[str, Any]], question: Question) -> str:
    """Adds the prompt's messages, each named by its path, so that prompts with one beginning share a tree."""
    prompt, parent = question.prompt, None
    if prompt is None or not prompt.messages or any(m.role == "system" for m in prompt.messages):
        raise DataError(
            f"the prompt of question {question.id[:12]} is not a dialogue of user and assistant; use format 'jsonl'"
        )
    for message in prompt.messages:
        user = prompt.user if parent is None else None
        name = content_id(parent, user, message.role, message.content)
        messages.setdefault(name, _message(name, parent, message.role, message.content) | {"user_id": user})
        parent = name
    return str(parent)


def _write_replies(messages: dict[str, dict[str, Any]], question: Question, answer: Answer, parent: str) -> None:
    if answer.cannot_tell:
        raise DataError(f"an answer to question {question.id[:12]} is 'cannot tell', which format 'oasst' lacks")
    texts, origins = candidate_texts(question, "oasst"), {c.id: c.origin for c in question.candidates}
    for rank, tier in enumerate(answer.tiers):
        for candidate in tier:
            name = content_id(parent, None, "assistant", texts[candidate])
            message = messages.setdefault(name, _message(name, parent, "assistant", texts[candidate]))
            message |= {"rank": rank, "model_name": origins[candidate] or None}


def _message(name: str, parent: str | None, role: Role, text: str) -> dict[str, Any]:
    speaker = "prompter" if role == "user" else "assistant"
    return {"message_id": name, "parent_id": parent, "role": speaker, "text": text, "rank": None, "model_name": None}
