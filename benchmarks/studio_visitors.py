"""Labellers by the hundred: each has a kept-alive connection, answers every few seconds, and times what it waits.

The smallest HTTP client that will do, so that the clients take little of the machine that they share with the server.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Crowd", "Line", "answer", "visit"]


class Line:
    """One connection to the server."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._host, self._port = host, port
        self._head = f"Host: {host}:{port}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        """The answer's status and JSON."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        sent = json.dumps(body).encode()
        writer.write(f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        return int(head.split(" ", 2)[1]), json.loads(await reader.readexactly(length))

    def close(self) -> None:
        """Closes it."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@dataclass
class Crowd:
    """What all labellers saw: the server's number of each acknowledged answer by its key, errors, waits in seconds."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


async def visit(
    host: str, port: int, tokens: Sequence[str], *, project: str, every: float, seconds: float, seed: int = 0
) -> Crowd:
    """All at once for `seconds`, each beginning at a moment of its own."""
    crowd, draw = Crowd(), random.Random(seed)
    starts = [draw.uniform(0, every) for _ in tokens]
    end = time.monotonic() + seconds
    lines = [Line(host, port, token) for token in tokens]
    works = [
        _label(line, crowd, f"/api/projects/{project}", name=f"v{i}", start=start, every=every, end=end)
        for i, (line, start) in enumerate(zip(lines, starts, strict=True))
    ]
    await asyncio.gather(*works)
    for line in lines:
        line.close()
    return crowd


async def _label(line: Line, crowd: Crowd, path: str, *, name: str, start: float, every: float, end: float) -> None:
    """Holds two questions, as a page does: answers one, and gets the one after the next."""
    await asyncio.sleep(start)
    held: list[Any] = []
    number = 0
    due = time.monotonic() + every
    try:
        status, reply = await line.post(f"{path}/lease", {"count": 2})
        held += reply["leases"] if status == 200 else []
        while held and due < end:
            await asyncio.sleep(due - time.monotonic())
            number, due, lease = number + 1, due + every, held.pop(0)
            said = answer(lease, key=f"{name}-{number}") | {"next": 1}
            begin = time.monotonic()
            status, reply = await line.post(f"{path}/answers", said)
            crowd.waits.append(time.monotonic() - begin)
            if status != 200:
                crowd.errors.append(f"{status}: {reply}")
                continue
            crowd.acknowledged[said["key"]] = reply["sequence"]
            held += reply["leases"]
        if due < end:
            crowd.errors.append(f"{name} got no more questions: {status} {str(reply)[:200]}")
    except (OSError, asyncio.IncompleteReadError) as error:
        crowd.errors.append(f"{name}: {error!r}")
        line.close()


def answer(lease: Mapping[str, Any], *, key: str) -> dict[str, Any]:
    """An answer in the shown order."""
    question = lease["question"]
    shown = question["shown"]
    order = {"shown": shown, "tiers": [[candidate] for candidate in shown], "seconds": 4.0}
    return {"token": lease["token"], "question": question["id"], "key": key} | order
