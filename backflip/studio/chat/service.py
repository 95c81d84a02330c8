"""An answer from a model to whoever asks: limits, the filter before, the engine, the filter after.

The engine's thread tells asyncio of each token; no stream has a thread. Filters are asked in one thread of their own,
so that a slow one holds up nobody's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple, TypeVar

from backflip.chat.model import ChatModel, ChatModels, Sampling
from backflip.chat.reply import Finish, Reply, Shown
from backflip.lm.engine import Ended
from backflip.records import Message
from backflip.safety.verdict import Context, Filter, Verdict
from backflip.studio.chat.blocked import Blocked
from backflip.studio.chat.limits import Limits, Places
from backflip.studio.refusals import NotFound, TooLarge

__all__ = ["Ask", "Begun", "Event", "Service"]

T = TypeVar("T")


class Begun(NamedTuple):
    """The answer begins: what the prompt came to, and how many of the oldest turns did not fit."""

    model: str
    prompt_tokens: int
    left_out: int


Event = Begun | Shown | Finish


@dataclass(frozen=True)
class Ask:
    """One request. `client` is whoever the limits count."""

    client: str
    messages: Sequence[Message]
    model: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    stop: Sequence[str] = ()


class Service:
    """Models and what stands around them, for one event loop. `close` ends every answer, and what it used."""

    def __init__(
        self,
        models: ChatModels,
        *,
        filters: Filter | None,
        limits: Limits | None = None,
        blocked: Blocked | None = None,
    ) -> None:
        self.models, self.filter = models, filters
        self.places = Places(limits or Limits())
        self.blocked = blocked or Blocked(None)
        self._checker = ThreadPoolExecutor(1, thread_name_prefix="backflip-filter")

    def end(self) -> None:
        """Answers under way end as cancelled, and no more are begun."""
        self.models.close()

    def close(self) -> None:
        """Ends, and gives back the filters' thread."""
        self.end()
        self._checker.shutdown(wait=False, cancel_futures=True)

    async def answer(self, ask: Ask) -> AsyncGenerator[Event, None]:
        """Begun, then what may be shown, then Finish. All refusals are raised before Begun.

        Close it (`contextlib.aclosing`) and the place is free; a blocked text of the user's is Begun and Finish.
        """
        model = self._model(ask.model)
        self._measure(ask)
        with self.places.take(ask.client):
            fitted = model.fit(ask.messages, ask.sampling)
            begun = Begun(model.name, len(fitted.prompt), fitted.left_out)
            if (found := await self._aside(partial(self._blocked, ask.messages))) is not None:
                message, verdict = found
                self._log(ask, model, message.role, message.content, verdict)
                yield begun
                yield Finish("content_filter", 0, verdict)
                return
            reply = Reply(model.tokens, self.filter, Context("assistant", tuple(ask.messages)), ask.stop)
            heard: asyncio.Queue[tuple[int | None, Ended | None]] = asyncio.Queue()
            request = model.ask(fitted.prompt, _into(heard), ask.sampling)
            try:
                yield begun
                async for event in self._heard(reply, heard):
                    if isinstance(event, Finish) and event.verdict is not None:
                        self._log(ask, model, "assistant", reply.written, event.verdict)
                    yield event
            finally:
                request.cancel()

    async def _heard(
        self, reply: Reply, heard: asyncio.Queue[tuple[int | None, Ended | None]]
    ) -> AsyncGenerator[Shown | Finish, None]:
        while not reply.over:
            token, why = await heard.get()
            if self.filter is None:
                events = reply.push(token, why)
            else:
                events = await self._aside(partial(reply.push, token, why))
            for event in events:
                yield event

    def _model(self, name: str) -> ChatModel:
        if name and name not in self.models:
            raise NotFound(f"there is no model {name!r}; wanted one of {', '.join(self.models)}")
        return self.models[name] if name else self.models.default

    def _measure(self, ask: Ask) -> None:
        limits, length = self.places.limits, sum(len(message.content) for message in ask.messages)
        if length > limits.characters:
            raise TooLarge(f"the messages are {length} characters; wanted {limits.characters} or fewer")
        if not 1 <= ask.sampling.max_tokens <= limits.longest:
            raise TooLarge(f"max_tokens is {ask.sampling.max_tokens}; wanted 1 to {limits.longest}")

    def _blocked(self, messages: Sequence[Message]) -> tuple[Message, Verdict] | None:
        """The first message that is blocked: all of them come from the client, the model's earlier ones too."""
        if self.filter is None:
            return None
        for place, message in enumerate(messages):
            role: Literal["user", "assistant"] = "assistant" if message.role == "assistant" else "user"
            verdict = self.filter.check(message.content, Context(role, tuple(messages[:place])))
            if not verdict.allowed:
                return message, verdict
        return None

    def _log(self, ask: Ask, model: ChatModel, role: str, text: str, verdict: Verdict) -> None:
        self.blocked.add(client=ask.client, model=model.name, role=role, text=text, verdict=verdict)

    async def _aside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._checker, work)


def _into(heard: asyncio.Queue[tuple[int | None, Ended | None]]) -> Callable[[int | None, Ended | None], None]:
    """A listener for the engine's thread, which puts what it is told into a queue of this loop's."""
    loop = asyncio.get_running_loop()

    def listen(token: int | None, why: Ended | None) -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
            loop.call_soon_threadsafe(heard.put_nowait, (token, why))

    return listen
