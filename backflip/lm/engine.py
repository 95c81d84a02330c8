"""Many conversations, one model: requests come and go at any moment and are decoded side by side by one thread.

The same machinery as the sampler's (a preallocated cache, prompts computed once, a row that ends leaves its place), but
open-ended: each request has its own limit, temperature and seed, and is told of each token as it is drawn.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from backflip.config import require
from backflip.errors import ModelError
from backflip.lm.cache import SlotCache, compute_prefixes
from backflip.lm.heads import Causal
from backflip.lm.linear import matmul_t
from backflip.lm.sampler import inverse_cdf

__all__ = ["Ended", "Engine", "EngineConfig", "Listener", "Request"]

Ended = Literal["stop", "length", "cancelled", "failed"]
Listener = Callable[[int | None, Ended | None], None]  # a token; or None, and why there are no more

_BESIDE = 512  # tokens of prompts that are computed between two tokens of those at work

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineConfig:
    """How much is done at once. The cache holds rows x context tokens, allocated when the first request comes."""

    rows: int = 32
    """Requests decoded side by side; the others wait in order."""
    context: int = 1024
    """Tokens of a prompt and its answer together, at most."""
    waiting: int = 256
    """Requests that may wait; one more is refused."""

    def __post_init__(self) -> None:
        for name in ("rows", "context"):
            require(getattr(self, name) >= 1, name, seen=getattr(self, name), wanted="1 or more")
        require(self.waiting >= 0, "waiting", seen=self.waiting, wanted="0 or more")


@dataclass(eq=False)
class Request:
    """One answer under way. `cancel` may be called from any thread, at any time, more than once."""

    prompt: tuple[int, ...]
    max_tokens: int
    temperature: float
    listener: Listener
    draws: np.random.Generator
    newest: int = -1
    count: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Its place is free from the next step on."""
        self.cancelled.set()


class Engine:
    """Decodes for whoever submits, in a thread of its own, until it is closed. A context manager.

    The listener of a request is called in that thread and must not block. `model` must be in eval mode, its adapters
    folded, and is the engine's alone.
    """

    def __init__(self, model: Causal, config: EngineConfig | None = None) -> None:
        self.model, self.config = model, config or EngineConfig()
        self.eos = int(model.tokenizer.eos_token_id)
        self._waiting: deque[Request] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="backflip-engine", daemon=True)
        self._thread.start()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def submit(
        self,
        prompt: Sequence[int],
        listener: Listener,
        *,
        max_tokens: int,
        temperature: float = 1.0,
        seed: int | None = None,
    ) -> Request:
        """Asks for an answer to `prompt` (token ids). The same seed and prompt give the same answer, whoever else asks.

        Temperature 0 is greedy. Raises ModelError where the prompt is empty or leaves no room in the context, where
        too many wait, or the engine is closed.
        """
        room = self.config.context - len(prompt)
        if not prompt or room < 1 or max_tokens < 1:
            raise ModelError(
                f"a prompt of {len(prompt)} tokens and {max_tokens} to come; wanted 1 or more of each, and at most "
                f"{self.config.context} together: shorten the dialogue"
            )
        draws = np.random.default_rng(seed)
        request = Request(tuple(prompt), min(max_tokens, room), temperature, listener, draws)
        with self._changed:
            if self._closing or len(self._waiting) >= self.config.rows + self.config.waiting:
                state = "is closed" if self._closing else f"has {len(self._waiting)} requests waiting"
                raise ModelError(f"the engine {state}; try again later")
            self._waiting.append(request)
            self._changed.notify()
        return request

    @property
    def waiting(self) -> int:
        """Requests that have no place yet."""
        return len(self._waiting)

    def close(self) -> None:
        """Ends all requests as cancelled, and the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    # --- the thread

    @torch.inference_mode()
    def _work(self) -> None:
        rows: list[Request] = []
        try:
            self._serve(rows)
        except Exception:  # noqa: BLE001  whatever it was: those who wait must not wait for ever
            _log.exception("the engine failed, and ends what it had under way")
            self._end_all(rows, "failed")
        else:
            self._end_all(rows, "cancelled")

    def _serve(self, rows: list[Request]) -> None:
        cache = SlotCache(self.config.rows, self.config.context)
        states = torch.empty(0, self.model.backbone.hidden, device=self.model.backbone.device)  # (rows, hidden)
        while True:
            newcomers = self._admitted(len(rows))
            if newcomers is None:
                return
            states = torch.cat([states, *self._install(cache, rows, newcomers)])
            keep = [not row.cancelled.is_set() for row in rows]
            self._draw(rows, states)
            for slot in reversed(range(len(rows))):
                if (why := "cancelled" if not keep[slot] else self._over(rows[slot])) is not None:
                    self._retire(cache, rows, slot, why)
            states = self._step(cache, rows) if rows else states[:0]

    def _admitted(self, busy: int) -> list[Request] | None:
        """Who takes the free places; waits while there is nothing to do; None once the engine is closed.

        Beside others at work one comes in, and more while all their prompts are short: the next token of those others
        waits until they are computed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closing or busy or self._waiting)
            if self._closing:
                return None
            taken: list[Request] = []
            room = _BESIDE if busy else self.config.rows * self.config.context
            while self._waiting and len(taken) < self.config.rows - busy:
                room -= len(self._waiting[0].prompt)
                if taken and room < 0:
                    break
                taken.append(self._waiting.popleft())
            return taken

    def _install(self, cache: SlotCache, rows: list[Request], newcomers: list[Request]) -> list[Tensor]:
        if not newcomers:
            return []
        prefixes = compute_prefixes(self.model.backbone, [one.prompt for one in newcomers])
        for request, prefix in zip(newcomers, prefixes, strict=True):
            cache.install(len(rows), prefix)
            rows.append(request)
        return [prefix.state[None] for prefix in prefixes]

    def _draw(self, rows: list[Request], states: Tensor) -> None:
        logits = matmul_t(states, self.model.head.weight)
        warmth = torch.tensor([[row.temperature or 1.0] for row in rows], device=logits.device, dtype=logits.dtype)
        drawn = inverse_cdf(logits / warmth, [row.draws.random() for row in rows]).squeeze(-1).tolist()
        greedy = logits.argmax(-1).tolist()
        for row, warm, cold in zip(rows, drawn, greedy, strict=True):
            row.newest = warm if row.temperature else cold
            row.count += 1
            if row.newest != self.eos and not row.cancelled.is_set():
                self._tell(row, row.newest, None)

    def _over(self, row: Request) -> Ended | None:
        if row.newest == self.eos:
            return "stop"
        return "length" if row.count == row.max_tokens else None

    def _retire(self, cache: SlotCache, rows: list[Request], slot: int, why: Ended) -> None:
        """Takes a row out; the last row moves into its place, so that active rows stay side by side."""
        row, last = rows[slot], rows.pop()
        if row is not last:
            cache.move(len(rows), slot)
            rows[slot] = last
        self._tell(row, None, why)

    def _step(self, cache: SlotCache, rows: list[Request]) -> Tensor:
        """Feeds every row its last token: the states (rows, hidden) that predict the next."""
        backbone = self.model.backbone
        newest = torch.tensor([[row.newest] for row in rows], device=backbone.device)
        with cache.step(len(rows)) as (positions, mask):
            return backbone.run(newest, positions, mask, cache=cache)[:, 0]

    def _end_all(self, rows: list[Request], why: Ended) -> None:
        with self._changed:
            self._closing = True
            left = [*rows, *self._waiting]
            self._waiting.clear()
        for row in left:
            self._tell(row, None, why)

    def _tell(self, row: Request, token: int | None, why: Ended | None) -> None:
        try:
            row.listener(token, why)
        except Exception:  # noqa: BLE001  one listener's fault must not end the others' answers
            _log.exception("a listener failed; its request is cancelled")
            row.cancel()
