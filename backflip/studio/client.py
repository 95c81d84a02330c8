"""Labelling over the network: a script, or a simulated judge, as one more labeller of a studio.

    with Client("http://127.0.0.1:8765", token, project="default") as studio:
        for task in studio.tasks():
            studio.answer(task, [[best], [second, third]])

Standard library only. What fails on the way is tried again; an answer that was sent twice is kept once.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Self
from urllib.parse import quote

from backflip.feedback.codec import decode_answer, dump
from backflip.feedback.store import Numbered
from backflip.records import Candidate, Medium, Message, Prompt, Question
from backflip.studio.wire import Wire

__all__ = ["Client", "Task"]

_BATCH = 500  # questions a request


@dataclass(frozen=True)
class Task:
    """A question that waits for this labeller's answer; `candidates` by id, in the shown order."""

    token: str
    question: str
    medium: Medium
    prompt: Prompt | None
    candidates: Mapping[str, Candidate]
    expires: float


class Client:
    """One labeller at one project of a studio."""

    def __init__(self, url: str, token: str, *, project: str = "default", tries: int = 6) -> None:
        self._wire = Wire(url, token, tries=tries)
        self._project = f"/api/projects/{quote(project, safe='')}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._wire.close()

    # --- labelling

    def lease(self, count: int = 1, *, medium: Medium | None = None, have: Iterable[Task] = ()) -> list[Task]:
        """The next questions, other than those at hand; fewer or none if there are no more, or in a pause."""
        asked = {"count": count, "medium": medium, "have": [task.question for task in have]}
        return _tasks(self._wire.ask("POST", f"{self._project}/lease", asked))

    def tasks(self, *, ahead: int = 5, medium: Medium | None = None) -> Iterator[Task]:
        """All questions that there are for this labeller, each to be answered or passed on before the next one."""
        while found := self.lease(ahead, medium=medium):
            yield from found

    def answer(
        self,
        task: Task,
        tiers: Sequence[Sequence[str]],
        *,
        ratings: Mapping[str, int] | None = None,
        flags: Mapping[str, Sequence[str]] | None = None,
        seconds: float | None = None,
        note: str = "",
    ) -> int:
        """Gives an answer, best tier first, none for "cannot tell"; returns its number in the store."""
        said = {"tiers": tiers, "ratings": ratings or {}, "flags": flags or {}, "seconds": seconds, "note": note}
        sent = _about(task) | said | {"shown": list(task.candidates)}
        return int(self._wire.ask("POST", f"{self._project}/answers", sent)["sequence"])

    def pass_on(self, task: Task, reason: Literal["skip", "outside_knowledge"] = "outside_knowledge") -> None:
        """Gives a question to somebody else."""
        self._wire.ask("POST", f"{self._project}/pass", _about(task) | {"reason": reason})

    def undo(self, sequence: int) -> Task:
        """Takes an own answer back; its question waits again."""
        return _task(self._wire.ask("POST", f"{self._project}/undo", {"sequence": sequence})["lease"])

    # --- for admins

    def add_questions(self, questions: Iterable[Question], *, overlap: int | None = None) -> int:
        """Adds questions, each for `overlap` answers or as many as the project says; returns how many were new."""
        added, rest = 0, iter(questions)
        while batch := list(islice(rest, _BATCH)):
            sent = {"questions": [_question(question) for question in batch], "overlap": overlap}
            added += self._wire.ask("POST", f"{self._project}/questions", sent)["added"]
        return added

    def answers(self, *, after: int = 0) -> Iterator[Numbered]:
        """All answers of the project that stand, with numbers above `after`."""
        for line in self._wire.text("GET", f"{self._project}/answers?after={after}").splitlines():
            row = json.loads(line)
            yield Numbered(row["sequence"], decode_answer(dump(row["answer"])))


def _about(task: Task) -> dict[str, Any]:
    return {"token": task.token, "question": task.question, "key": uuid.uuid4().hex}


def _tasks(reply: Mapping[str, Any]) -> list[Task]:
    return [_task(lease) for lease in reply["leases"]]


def _task(lease: Mapping[str, Any]) -> Task:
    question = lease["question"]
    candidates = {c["id"]: Candidate(text=c["text"], media=c["media"]) for c in question["candidates"]}
    prompt = _prompt(question["prompt"]) if question["prompt"] else None
    return Task(lease["token"], question["id"], question["medium"], prompt, candidates, lease["expires"])


def _prompt(shown: Mapping[str, Any]) -> Prompt:
    return Prompt(tuple(Message(m["role"], m["content"]) for m in shown["messages"]), shown["text"])


def _question(question: Question) -> dict[str, Any]:
    candidates = [{"text": c.text, "media": c.media, "origin": c.origin, "ended": c.ended} for c in question.candidates]
    messages = question.prompt.messages if question.prompt else ()
    prompt = question.prompt and {
        "messages": [{"role": m.role, "content": m.content} for m in messages],
        "text": question.prompt.text,
        "user": question.prompt.user,
        "source": question.prompt.source,
    }
    about = {"medium": question.medium, "purpose": question.purpose, "priority": question.priority}
    return about | {"prompt": prompt, "candidates": candidates}
