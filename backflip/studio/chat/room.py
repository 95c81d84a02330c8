"""The studio's Chat page and its API; `attach` adds them to an application, where the operator turned chat on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from backflip.chat.model import Sampling
from backflip.chat.reply import Finish, Shown
from backflip.errors import BackflipError
from backflip.feedback.personal import redact
from backflip.records import Message
from backflip.studio.api.models import In
from backflip.studio.chat.blocked import read_blocked
from backflip.studio.chat.rounds import Kept, Round, Rounds, Said
from backflip.studio.chat.service import Ask, Begun, Service
from backflip.studio.chat.stream import EventStream
from backflip.studio.chat.wire import sse
from backflip.studio.markdown import to_html
from backflip.studio.refusals import Refusal
from backflip.studio.web import Admin, LabellerUser, render

__all__ = ["Room", "attach"]

MOST = 4  # answers side by side

router = APIRouter(include_in_schema=False)


@dataclass
class Room:
    """What the chat of one studio holds."""

    service: Service
    kept: Kept
    rounds: Rounds

    @property
    def names(self) -> list[str]:
        return list(self.service.models)


class TurnIn(In):
    """One turn of the talk so far."""

    role: Literal["user", "assistant"]
    content: str = Field(min_length=1, max_length=32_000)


class RoundIn(In):
    """A prompt; `model` answers, or `count` models side by side, or (`again`) the model of a round a second time."""

    messages: list[TurnIn] = Field([], max_length=200)
    model: str = Field("", max_length=200)
    count: int = Field(1, ge=1, le=MOST)
    again: str = Field("", max_length=100)
    consent: bool = False


class VoteIn(In):
    """Which answer is better (None: they are equal), and thumbs by the answer's place: 7 up, 1 down."""

    round: str = Field(max_length=100)
    best: int | None = Field(None, ge=0, lt=MOST)
    ratings: dict[Annotated[int, Field(ge=0, lt=MOST)], Literal[1, 7]] = Field({}, max_length=MOST)


def attach(app: FastAPI, service: Service, *, project: str) -> None:
    """Turns chat on. Raises DependencyError where personal data could not be taken out."""
    redact("")
    app.state.room = Room(service, Kept(app.state.studio.store, project), Rounds())
    app.include_router(router)


def _room(request: Request) -> Room:
    room: Room = request.app.state.room
    return room


@router.get("/chat")
def page(request: Request, user: LabellerUser) -> Response:
    """The page; which model answers what is not in it."""
    names = _room(request).names
    about = {"models": names, "most": min(MOST, len(names)), "user": user.id}
    return render(request, "chat.html", page=about, filtered=_room(request).service.filter is not None)


@router.get("/chat/blocked")
def blocked(request: Request, user: Admin) -> Response:  # noqa: ARG001 - for admins
    """The turns that were blocked, newest first."""
    return render(request, "chat_blocked.html", rows=read_blocked(_room(request).service.blocked.path))


@router.post("/api/chat/rounds")
async def begin(request: Request, user: LabellerUser, wanted: RoundIn) -> Response:
    """The answers, as events: `{"answer": 0, "text": ".."}` and at each one's end `{"answer": 0, "end": reason}`."""
    room = _room(request)
    if wanted.again:
        one, waiting = _again(room.rounds.find(wanted.again, user))
    else:
        one, waiting = _round(room, user.id, wanted)
    room.rounds.add(one)
    return EventStream(_events(room, one, waiting, user.id))


@router.post("/api/chat/votes")
def vote(request: Request, user: LabellerUser, given: VoteIn) -> dict[str, Any]:
    """Keeps the vote, if the user consented, and says which model is which."""
    room = _room(request)
    one = room.rounds.find(given.round, user)
    kept = room.kept.vote(user, one, given.best, given.ratings)
    return {"models": [said.model for said in one.answers], "kept": kept}


@router.delete("/api/chat/prompts")
def forget(request: Request, user: LabellerUser) -> dict[str, int]:
    """One's consented prompts are removed."""
    return {"removed": _room(request).kept.forget(user)}


def _round(room: Room, user: str, wanted: RoundIn) -> tuple[Round, list[int]]:
    if not wanted.messages:
        raise Refusal("there is no message; wanted one of the user's at the end")
    names = random.sample(room.names, min(wanted.count, len(room.names))) if wanted.count > 1 else [wanted.model]
    messages = [Message(turn.role, turn.content) for turn in wanted.messages]
    one = Round(user, messages, [Said(name or room.names[0]) for name in names], wanted.consent)
    return one, list(range(len(names)))


def _again(before: Round) -> tuple[Round, list[int]]:
    """The first answer of a round beside a new one of the same model, in a new order."""
    first = before.answers[0]
    second = Said(first.model)
    answers = random.sample([first, second], 2)
    return Round(before.user, before.messages, answers, before.consent), [answers.index(second)]


async def _events(room: Room, one: Round, waiting: Sequence[int], client: str) -> AsyncGenerator[str, None]:
    """All answers' events as one stream, as they come."""
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    tasks = [asyncio.create_task(_answer(room.service, one, place, client, heard)) for place in waiting]
    try:
        yield sse({"round": one.id, "places": len(one.answers), "waiting": list(waiting)})
        left = len(tasks)
        while left:
            event = await heard.get()
            left -= "end" in event
            yield sse(event)
        if one.consent and any(said.usable for said in one.answers):
            await asyncio.to_thread(room.kept.prompt, one)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(service: Service, one: Round, place: int, client: str, heard: asyncio.Queue[dict[str, Any]]) -> None:
    said = one.answers[place]
    ask = Ask(client, one.messages, said.model, Sampling(max_tokens=min(256, service.places.limits.longest)))
    try:
        async with aclosing(service.answer(ask)) as events:
            async for event in events:
                if isinstance(event, Begun):
                    heard.put_nowait({"answer": place, "left_out": event.left_out})
                elif isinstance(event, Shown):
                    said.text += event.text
                    heard.put_nowait({"answer": place, "text": event.text})
                else:
                    heard.put_nowait({"answer": place} | _end(said, event))
    except BackflipError as error:
        heard.put_nowait({"answer": place, "end": "refused", "message": str(error)})


def _end(said: Said, finish: Finish) -> dict[str, Any]:
    said.usable, said.ended = finish.reason in ("stop", "length"), finish.reason == "stop"
    whose = "user" if finish.verdict is not None and not finish.tokens else "assistant"
    return {"end": finish.reason, "text": said.text, "html": to_html(said.text), "whose": whose}
