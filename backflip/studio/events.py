"""Server-sent events: what changes is told to whoever looks on, by one connection each.

However many people look at one thing, it is looked up once an interval, and not at all when nobody looks. A stream ends
when its reader goes or the server stops.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import StreamingResponse

from backflip.studio.state import studio_of

__all__ = ["Event", "Watches", "stream", "watches_of"]

_ALIVE_SECONDS = 15.0  # a line now and then, so that a reader who is gone is noticed


class Event(NamedTuple):
    """One event; `data` is JSON as text, `id` is where a reader that lost its connection goes on."""

    name: str
    data: str
    id: str = ""

    @classmethod
    def of(cls, name: str, data: Any, id: str = "") -> Event:  # noqa: A002 - the format's word
        """With `data` still to be written as JSON."""
        return cls(name, json.dumps(data, ensure_ascii=False, allow_nan=False), id)

    def encode(self) -> str:
        """As it goes over the line."""
        head = f"id: {self.id}\n" if self.id else ""
        return f"{head}event: {self.name}\ndata: {self.data}\n\n"


Look = Callable[[], Hashable]
"""A cheap look at something; another value says that it has changed."""

Read = Callable[[str], list[Event]]
"""What has changed since the event of this id ("": since ever)."""


class _Watch:
    """One thing under watch: who looks on waits for `changed`."""

    def __init__(self, look: Look, seconds: float, stopping: asyncio.Event) -> None:
        self._look, self._seconds, self._stopping = look, seconds, stopping
        self._turn = asyncio.Event()
        self._begun = asyncio.Event()
        self.readers = 0
        self.task = asyncio.create_task(self._run())

    async def begun(self) -> None:
        """The first look comes before the first read, so that no change falls between the two."""
        await self._begun.wait()

    async def _run(self) -> None:
        seen = await asyncio.to_thread(self._look)
        self._begun.set()
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._seconds)
            now = await asyncio.to_thread(self._look)
            if now != seen or self._stopping.is_set():
                seen = now
                self._turn.set()
                self._turn = asyncio.Event()

    async def changed(self, seconds: float) -> bool:
        """Waits for a change, at most so long; whether there was one."""
        try:
            await asyncio.wait_for(self._turn.wait(), seconds)
        except TimeoutError:
            return False
        return True


class Watches:
    """What is watched now, by key."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self._watches: dict[Hashable, _Watch] = {}

    def __len__(self) -> int:
        return len(self._watches)

    @asynccontextmanager
    async def join(self, key: Hashable, look: Look, seconds: float) -> AsyncIterator[_Watch]:
        """Looks on with the others; the first begins the watch, and the last ends it."""
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = _Watch(look, seconds, self._stopping)
        watch.readers += 1
        try:
            await watch.begun()
            yield watch
        finally:
            watch.readers -= 1
            if not watch.readers:
                del self._watches[key]
                watch.task.cancel()


def watches_of(request: Request) -> Watches:
    """The watches of this application."""
    state = request.app.state
    if not hasattr(state, "watches"):
        state.watches = Watches(studio_of(request).stopping)
    found: Watches = state.watches
    return found


def stream(
    request: Request, key: Hashable, look: Look, read: Read, *, after: str = "", seconds: float = 1.0
) -> StreamingResponse:
    """A response that tells what changes: `read` is asked at once, and again whenever `look` has seen a change."""
    last = request.headers.get("last-event-id") or after
    return StreamingResponse(
        _events(request, key, look, read, last, seconds),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(
    request: Request, key: Hashable, look: Look, read: Read, last: str, seconds: float
) -> AsyncIterator[str]:
    stopping = studio_of(request).stopping
    yield "retry: 2000\n\n"
    async with watches_of(request).join(key, look, seconds) as watch:
        while not stopping.is_set():
            for event in await asyncio.to_thread(read, last):
                last = event.id or last
                yield event.encode()
            if not await watch.changed(_ALIVE_SECONDS):
                yield ": still here\n\n"
