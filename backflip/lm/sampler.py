"""Sampling K completions a prompt: continuous batching over a preallocated key-value cache.

A prompt is computed once however many samples it has. A fixed number of rows decode side by side; a row that ends
leaves its place to the next waiting sample at once, so no step is spent on padding. There is no left padding: each
row's cache starts at column 0.

The random draws depend on (seed, prompt key, sample, position) alone, not on how rows are batched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from backflip.config import require
from backflip.errors import TrainingDiverged
from backflip.lm.cache import Prefix, SlotCache, compute_prefixes
from backflip.lm.heads import Causal
from backflip.lm.linear import matmul_t
from backflip.lm.lora import merged
from backflip.maths.policy import entropy_

__all__ = ["Completion", "LocalSampler", "Sampler", "SamplerConfig", "inverse_cdf", "stream_key"]


class Completion(NamedTuple):
    """One sampled answer. `tokens` holds what was sampled and nothing after it: the last is the EOS if it `ended`."""

    prompt: int  # index into the prompts given
    sample: int  # 0..samples-1
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]  # of each token, at the sampling temperature
    ended: bool
    entropies: tuple[float, ...] = ()  # nats of what each token was drawn from; () if the engine does not say


@dataclass(frozen=True)
class SamplerConfig:
    """`temperature` 0 is greedy. There is no top-k, top-p or repetition penalty (detail 9)."""

    max_tokens: int = 64
    temperature: float = 1.0
    rows: int = 32  # decoded side by side
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.max_tokens >= 1, "max_tokens", seen=self.max_tokens, wanted="1 or more")
        require(self.temperature >= 0, "temperature", seen=self.temperature, wanted="0 (greedy) or more")
        require(self.rows >= 1, "rows", seen=self.rows, wanted="1 or more")


class Sampler(Protocol):
    """What recipes need of a sampling engine. The next one is vLLM."""

    def sample(
        self, prompts: Sequence[Sequence[int]], *, samples: int, keys: Sequence[int] | None = None
    ) -> list[list[Completion]]:
        """`samples` completions of each prompt (token ids); `keys` name the random streams (default 0, 1, ..)."""
        ...


def inverse_cdf(logits: Tensor, uniforms: Sequence[float]) -> Tensor:
    """Logits (rows, vocabulary) and a number in [0, 1) a row -> tokens (rows, 1): one number decides one token."""
    cdf = logits.softmax(-1).double().cumsum(-1)  # float32 sums over 50,000 tokens would lose the tail
    points = torch.tensor(uniforms, dtype=torch.float64).to(cdf.device)[:, None] * cdf[:, -1:]
    return torch.searchsorted(cdf, points, right=True).clamp_(max=logits.shape[-1] - 1)


def stream_key(content: str) -> int:
    """The name of the random stream that belongs to a content id (hex): its first 60 bits."""
    return int(content[:15], 16)


@dataclass
class _Row:
    """A sample under way."""

    prompt: int
    sample: int
    draws: np.ndarray[Any, np.dtype[np.float64]]  # one uniform number a position
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)


class LocalSampler:
    """Samples from a `Causal` in this process. Its adapters are merged while it works."""

    def __init__(
        self, model: Causal, config: SamplerConfig, *, on_done: Callable[[Completion], None] | None = None
    ) -> None:
        self.model, self.config = model, config
        self.eos = int(model.tokenizer.eos_token_id)
        self.on_done = on_done or (lambda _: None)

    @torch.inference_mode()
    def sample(
        self, prompts: Sequence[Sequence[int]], *, samples: int, keys: Sequence[int] | None = None
    ) -> list[list[Completion]]:
        """See `Sampler.sample`. Raises TrainingDiverged where the model gives no finite logprobs."""
        keys = list(range(len(prompts))) if keys is None else keys
        done: list[list[Completion]] = [[] for _ in prompts]
        with self._ready():
            for completion in self._decode(prompts, samples, keys):
                done[completion.prompt].append(completion)
                self.on_done(completion)
        return [sorted(group, key=lambda c: c.sample) for group in done]

    @contextmanager
    def _ready(self) -> Iterator[None]:
        training = self.model.training
        self.model.eval()
        try:
            with merged(self.model):
                yield
        finally:
            self.model.train(training)

    def _decode(self, prompts: Sequence[Sequence[int]], samples: int, keys: Sequence[int]) -> Iterator[Completion]:
        capacity = max((len(p) for p in prompts), default=0) + self.config.max_tokens
        cache = SlotCache(self.config.rows, capacity)
        waiting = self._waiting(prompts, samples, keys)
        rows: list[_Row] = []
        states = torch.empty(0, self.model.backbone.hidden, device=self.model.backbone.device)  # (rows, hidden)
        while True:
            arrivals = [state for _, state in self._admit(cache, rows, waiting)]
            states = torch.cat([states, *arrivals])
            if not rows:
                return
            self._draw(rows, states)
            for slot in reversed(range(len(rows))):
                if self._finished(rows[slot]):
                    yield self._retire(cache, rows, slot)
            states = self._step(cache, rows) if rows else states[:0]

    def _waiting(
        self, prompts: Sequence[Sequence[int]], samples: int, keys: Sequence[int]
    ) -> Iterator[tuple[_Row, Prefix]]:
        """Every sample to be made, in order; prompts are computed a few together, shortly before they are needed."""
        together = max(1, self.config.rows // samples)
        for start in range(0, len(prompts), together):
            chunk = range(start, min(start + together, len(prompts)))
            prefixes = compute_prefixes(self.model.backbone, [prompts[i] for i in chunk])
            for index, prefix in zip(chunk, prefixes, strict=True):
                for sample in range(samples):
                    yield _Row(index, sample, self._stream(keys[index], sample)), prefix

    def _stream(self, key: int, sample: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """One uniform number a position, from a counter-based generator: no draw depends on another row's."""
        generator = np.random.Philox(key=[self.config.seed, key], counter=[0, 0, 0, sample])
        return np.random.Generator(generator).random(self.config.max_tokens)

    def _admit(
        self, cache: SlotCache, rows: list[_Row], waiting: Iterator[tuple[_Row, Prefix]]
    ) -> Iterator[tuple[_Row, Tensor]]:
        """Fills the free places; yields each newcomer with the state (1, hidden) that predicts its first token."""
        while len(rows) < self.config.rows:
            newcomer = next(waiting, None)
            if newcomer is None:
                return
            row, prefix = newcomer
            cache.install(len(rows), prefix)
            rows.append(row)
            yield row, prefix.state[None]

    def _draw(self, rows: list[_Row], states: Tensor) -> None:
        """One more token for every row."""
        logits = matmul_t(states, self.model.head.weight)
        if self.config.temperature > 0:
            logits = logits / self.config.temperature
            chosen = inverse_cdf(logits, [row.draws[len(row.tokens)] for row in rows])
        else:
            chosen = logits.argmax(-1, keepdim=True)
        normal = logits.log_softmax(-1)
        logprobs = normal.gather(-1, chosen).squeeze(-1)
        entropies = entropy_(logprobs=normal, probabilities=normal.exp())
        drawn = zip(rows, chosen.squeeze(-1).tolist(), logprobs.tolist(), entropies.tolist(), strict=True)
        for row, token, logprob, entropy in drawn:
            row.tokens.append(token)
            row.logprobs.append(logprob)
            row.entropies.append(entropy)

    def _finished(self, row: _Row) -> bool:
        return row.tokens[-1] == self.eos or len(row.tokens) == self.config.max_tokens

    def _retire(self, cache: SlotCache, rows: list[_Row], slot: int) -> Completion:
        """Takes a finished row out; the last row moves into its place, so that active rows stay side by side."""
        row, last = rows[slot], rows.pop()
        if row is not last:
            cache.move(len(rows), slot)
            rows[slot] = last
        if bad := [logprob for logprob in row.logprobs if not math.isfinite(logprob)]:
            raise TrainingDiverged(
                f"the logprob of a sampled token is {bad[0]}; wanted a finite number: the model's weights are damaged, "
                "or its training diverged. Take an earlier model, or train it again with a lower learning rate"
            )
        ended = row.tokens[-1] == self.eos
        return Completion(
            row.prompt, row.sample, tuple(row.tokens), tuple(row.logprobs), ended, entropies=tuple(row.entropies)
        )

    def _step(self, cache: SlotCache, rows: list[_Row]) -> Tensor:
        """Feeds every row its last token: the states (rows, hidden) that predict the next."""
        backbone = self.model.backbone
        newest = torch.tensor([[row.tokens[-1]] for row in rows], device=backbone.device)
        with cache.step(len(rows)) as (positions, mask):
            states = backbone.run(newest, positions, mask, cache=cache)
        return states[:, 0]
