"""What OpenAI's chat API says and hears, as far as it is spoken here. What is not known here is refused, not ignored,
where it would change the answer.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, Field

from backflip.chat.model import Sampling
from backflip.chat.reply import Finish
from backflip.errors import DataError
from backflip.records import Message
from backflip.studio.chat.service import Ask, Begun

__all__ = ["Completion", "Wanted", "error_body", "sse"]


class _Part(BaseModel):
    type: Literal["text"]
    text: str


class _Said(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Part]

    def message(self) -> Message:
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message("system" if self.role == "developer" else self.role, content)


class _StreamOptions(BaseModel):
    include_usage: bool = False


class Wanted(BaseModel):
    """The body of a request. `refuse` names what is not done here."""

    model: str = ""
    messages: list[_Said] = Field(min_length=1)
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    seed: int | None = Field(default=None, ge=0)
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logprobs: bool | None = None
    logit_bias: dict[str, float] | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: dict[str, Any] | None = None

    def refuse(self) -> None:
        """Raises DataError at the first field that would need what is not here."""
        allowed: dict[str, tuple[Any, ...]] = {
            "n": (1,),
            "top_p": (1,),
            "frequency_penalty": (0,),
            "presence_penalty": (0,),
            "logprobs": (False,),
            "logit_bias": ({},),
            "tools": ([],),
            "functions": ([],),
            "response_format": ({"type": "text"},),
        }
        for name, values in allowed.items():
            if (seen := getattr(self, name)) is not None and seen not in values:
                raise DataError(f"{name} is {seen!r}, which is not done here; wanted {values[0]!r}, or leave it out")
        if len(self.stops) > 4 or not all(self.stops):
            raise DataError("stop holds more than 4 texts, or an empty one; wanted up to 4, none of them empty")

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def counted(self) -> bool:
        """Whether a stream ends with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def ask(self, client: str, *, longest: int) -> Ask:
        """What it asks of the service; without a limit of its own an answer may be `longest` tokens."""
        most = next((n for n in (self.max_completion_tokens, self.max_tokens) if n is not None), min(256, longest))
        warmth = Sampling().temperature if self.temperature is None else self.temperature
        messages = [said.message() for said in self.messages]
        return Ask(client, messages, self.model, Sampling(most, warmth, self.seed), self.stops)


@dataclass
class Completion:
    """One answer as the API words it, whole or piece by piece."""

    begun: Begun
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, finish: Finish) -> dict[str, Any]:
        choice = {"index": 0, "message": {"role": "assistant", "content": text, "refusal": None}, "logprobs": None}
        choice["finish_reason"] = finish.reason
        return self._head("chat.completion") | {"choices": [choice], "usage": self.usage(finish)} | self.notice(finish)

    def piece(self, **delta: str) -> dict[str, Any]:
        return self._chunk(delta, None)

    def end(self, finish: Finish) -> dict[str, Any]:
        return self._chunk({}, finish.reason) | self.notice(finish)

    def count(self, finish: Finish) -> dict[str, Any]:
        return self._head("chat.completion.chunk") | {"choices": [], "usage": self.usage(finish)}

    def usage(self, finish: Finish) -> dict[str, int]:
        prompt = self.begun.prompt_tokens
        return {"prompt_tokens": prompt, "completion_tokens": finish.tokens, "total_tokens": prompt + finish.tokens}

    def notice(self, finish: Finish) -> dict[str, Any]:
        """What OpenAI's API has no word for: turns that did not fit, and why a turn was blocked."""
        blocked = None if finish.verdict is None else {"reason": finish.verdict.reason}
        return {"backflip": {"left_out": self.begun.left_out, "blocked": blocked}}

    def _chunk(self, delta: dict[str, str], reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._head("chat.completion.chunk") | {"choices": [choice]}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.begun.model}


def sse(data: dict[str, Any] | str) -> str:
    """One event of a stream."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"data: {text}\n\n"


def error_body(message: str, kind: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error as OpenAI words it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
