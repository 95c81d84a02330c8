"""`backflip chat`: a talk with a model in the terminal, or through a pipe, a line a turn."""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

from backflip.chat.model import ChatModel, ChatModels, Sampling
from backflip.chat.reply import Finish, Reply, Shown
from backflip.config import require
from backflip.errors import DataError
from backflip.lm.engine import Ended, EngineConfig
from backflip.records import Message
from backflip.safety.loading import load_filters
from backflip.safety.verdict import Context, Filter

__all__ = ["Config", "Talk", "run"]


@dataclass(frozen=True)
class Config:
    """Talks with a model. /new forgets what was said, /quit ends; Ctrl-C stops the answer, at the prompt it ends."""

    model: str
    """The model's folder, or a hub id."""
    filters: tuple[str, ...] = ("words",)
    """What your text and the model's must pass: words, words:FILE, personal, trained:FOLDER, ..; or nothing."""
    system: str = ""
    """What the model is told before the talk."""
    max_tokens: int = 256
    """Tokens of an answer, at most."""
    temperature: float = 0.7
    """0 is greedy."""
    seed: int | None = None
    """The same seed and words, the same answers."""
    context: int = 2048
    """Tokens of the talk, at most; older turns are left out, and you are told."""
    device: str = "cpu"
    """Where the model is: cpu, or cuda."""

    def __post_init__(self) -> None:
        require(self.max_tokens >= 1, "max_tokens", seen=self.max_tokens, wanted="1 or more")
        require(self.temperature >= 0, "temperature", seen=self.temperature, wanted="0 or more")
        require(self.context >= 2, "context", seen=self.context, wanted="2 or more")


def run(config: Config) -> None:
    """Talks until the input ends."""
    checked = load_filters(config.filters) if config.filters else None
    engine = EngineConfig(rows=1, context=config.context)
    with ChatModels.load([config.model], engine, device=config.device) as models:
        sampling = Sampling(config.max_tokens, config.temperature, config.seed)
        turns = Talk(models.default, sampling, checked, system=config.system).hold(_lines(), sys.stdout, sys.stderr)
    if not turns:
        print("(nothing was said; give lines at the prompt or through a pipe)", file=sys.stderr)


def _lines() -> Callable[[], str | None]:
    """Asks for the next line; None at the end of the input. Through a pipe there is no prompt."""
    if sys.stdin.isatty():
        import readline  # noqa: F401 - lines can be edited

        def ask() -> str | None:
            try:
                return input("> ")
            except EOFError:
                return None

        return ask
    return lambda: sys.stdin.readline() or None


@dataclass
class Talk:
    """One dialogue and where it stands. A turn that is blocked is not part of it."""

    model: ChatModel
    sampling: Sampling
    filter: Filter | None = None
    system: str = ""
    said: list[Message] = field(default_factory=list)

    def hold(self, ask: Callable[[], str | None], out: TextIO, notices: TextIO) -> int:
        """Turn after turn, until the input ends, /quit, or Ctrl-C at the prompt; returns how many there were."""
        turns = 0
        while True:
            try:
                line = ask()
            except KeyboardInterrupt:
                line = None
            if line is None or line.strip() == "/quit":
                return turns
            if line.strip() == "/new":
                self.said.clear()
                print("(a new talk)", file=notices, flush=True)
            elif text := line.strip():
                turns += 1
                self._turn(text, out, notices)

    def _turn(self, text: str, out: TextIO, notices: TextIO) -> None:
        opening = [Message("system", self.system)] if self.system else []
        dialogue = [*opening, *self.said, Message("user", text)]
        if self.filter and not (verdict := self.filter.check(text, Context("user", tuple(dialogue[:-1])))).allowed:
            print(f"(your message is blocked: {verdict.reason})", file=notices, flush=True)
            return
        try:
            fitted = self.model.fit(dialogue, self.sampling)
        except DataError as error:
            print(f"({error})", file=notices, flush=True)
            return
        if fitted.left_out:
            print(f"(the oldest {fitted.left_out} turns do not fit and are left out)", file=notices, flush=True)
        reply = Reply(self.model.tokens, self.filter, Context("assistant", tuple(dialogue)))
        finish = self._answer(fitted.prompt, reply, out)
        print(file=out, flush=True)
        if (notice := _notice(finish)) is not None:
            print(notice, file=notices, flush=True)
        if finish.reason != "content_filter":
            self.said += [Message("user", text), Message("assistant", reply.text)]

    def _answer(self, prompt: tuple[int, ...], reply: Reply, out: TextIO) -> Finish:
        """Writes what may be shown as it comes; Ctrl-C stops it."""
        heard: queue.SimpleQueue[tuple[int | None, Ended | None]] = queue.SimpleQueue()
        request = self.model.ask(prompt, lambda token, why: heard.put((token, why)), self.sampling)
        while True:
            try:
                for event in reply.push(*heard.get()):
                    if isinstance(event, Finish):
                        return event
                    out.write(event.text if isinstance(event, Shown) else "")
                    out.flush()
            except KeyboardInterrupt:
                request.cancel()
                return Finish("cancelled", 0)
            finally:
                if reply.over:
                    request.cancel()


def _notice(finish: Finish) -> str | None:
    if finish.verdict is not None:
        return f"(the answer is blocked: {finish.verdict.reason})"
    notices = {
        "length": "(cut off: --max-tokens)",
        "cancelled": "(stopped)",
        "failed": "(the model failed; see the log)",
    }
    return notices.get(finish.reason)
