"""How likely a model finds given texts: each question's prompt is computed once, its options are branches of one tree.

What all questions of a set begin with (a primer of worked examples) is computed once for the whole set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from backflip.evaluation.journal import answered
from backflip.lm.cache import Prefix, compute_prefixes
from backflip.lm.heads import Causal
from backflip.lm.linear import matmul_t
from backflip.lm.packing import Packed, Tree, batches_by_tokens, pack
from backflip.lm.scoring import BLOCK, token_scores
from backflip.lm.tokens import Tokens
from backflip.records import content_id

__all__ = ["Choice", "answered_choices", "continued", "opened", "option_logprobs", "option_scores"]

_ROW = 512  # tokens of a packed row: short trees share one


class Choice(NamedTuple):
    """A question: what stands before, and the texts whose probability is asked, all as token ids."""

    key: str
    prompt: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]


def opened(tokens: Tokens, text: str) -> tuple[int, ...]:
    """Plain text as the model reads a document: after its BOS where its tokenizer writes one."""
    own = tuple(tokens.tokenizer("").input_ids)
    bos = own[:1] if own and own[0] == tokens.tokenizer.bos_token_id else ()
    return bos + tokens.text(text)


def continued(tokens: Tokens, key: str, prompt: str, options: Sequence[str]) -> Choice:
    """The question whether `prompt` goes on with each of `options`, split where a token begins.

    An empty prompt is the model's BOS (or EOS, where it has none), so that the first token is scored too. A prompt
    and an option are tokenised together; a token that spans both belongs to the option.
    """
    start = opened(tokens, prompt)
    if not start:
        begin = tokens.tokenizer.bos_token_id
        return Choice(key, (tokens.eos if begin is None else int(begin),), tuple(tokens.text(o) for o in options))
    whole = [opened(tokens, prompt + option) for option in options]
    shared = min(_shared([start, ids]) for ids in whole)
    return Choice(key, start[:shared], tuple(ids[shared:] for ids in whole))


def answered_choices(
    path: Path, choices: Sequence[Choice], *, model: Causal, name: str, batch_tokens: int, label: str
) -> list[list[float]]:
    """`option_logprobs`, kept in `path` by question; `name` is the digest of the model's weights."""
    work: Mapping[str, Any] = {"model": name, "logprobs": "sum"}

    def answer(chosen: Sequence[int]) -> list[list[float]]:
        return option_logprobs(model, [choices[i] for i in chosen], batch_tokens=batch_tokens)

    keys = [f"{c.key} {content_id(c.prompt, c.options)[:12]}" for c in choices]
    return answered(path, work=work, keys=keys, answer=answer, together=64, label=label)


def option_logprobs(model: Causal, choices: Sequence[Choice], *, batch_tokens: int = 8192) -> list[list[float]]:
    """Of each question's options the summed log-probability (nats) after its prompt; every prompt needs a token."""
    return [[sums for sums, _ in row] for row in option_scores(model, choices, batch_tokens=batch_tokens)]


@torch.inference_mode()
def option_scores(
    model: Causal, choices: Sequence[Choice], *, batch_tokens: int = 8192, greedy: bool = False
) -> list[list[tuple[float, bool]]]:
    """`option_logprobs`, each with whether greedy decoding would write that option (asked by `greedy`, else False)."""
    if not choices:
        return []
    model.eval()
    shared = _shared([c.prompt[:-1] for c in choices]) if len(choices) > 1 and model.backbone.is_ladder else 0
    prefix = compute_prefixes(model.backbone, [choices[0].prompt[:shared]])[0] if shared else None
    trees = [Tree(c.prompt[shared:], c.options) for c in choices]
    found: list[list[tuple[float, bool]]] = []
    for indices in batches_by_tokens([tree.length for tree in trees], batch_tokens):
        packed = pack([trees[i] for i in indices], row_length=_ROW).to(model.backbone.device)
        states = _states(model, packed, prefix).flatten(0, 1)[packed.sources]
        scores = token_scores(states, model.head.weight, packed.targets).logprobs.double()
        likeliest = (
            _likeliest(model, states) == packed.targets if greedy else torch.zeros_like(scores, dtype=torch.bool)
        )
        parts = zip(scores.split(list(packed.lengths)), likeliest.split(list(packed.lengths)), strict=True)
        sums = iter([(float(part.sum()), bool(hit.all())) for part, hit in parts])
        found += [[next(sums) for _ in trees[i].responses] for i in indices]
    return found


def _likeliest(model: Causal, states: Tensor) -> Tensor:
    """The token that greedy decoding takes after each state, a block at a time."""
    return torch.cat([matmul_t(block, model.head.weight).argmax(-1) for block in states.split(BLOCK)])


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """How many first tokens all have in common."""
    return next(
        (i for i, column in enumerate(zip(*prompts, strict=False)) if len(set(column)) > 1), min(map(len, prompts))
    )


def _states(model: Causal, packed: Packed, prefix: Prefix | None) -> Tensor:
    """The hidden states (rows, length, hidden) of a batch whose every tree continues `prefix`."""
    if prefix is None:
        return model.backbone(packed)
    mask = packed.mask()
    seen = torch.cat([mask.new_ones(*mask.shape[:3], prefix.length), mask], dim=-1)
    return model.backbone.run(packed.tokens, packed.positions + prefix.length, seen, cache=_After(prefix))


class _After:
    """A cache that puts the prefix's keys and values before every row's own, and keeps nothing."""

    def __init__(self, prefix: Prefix) -> None:
        self.prefix = prefix

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return self._joined(self.prefix.keys[layer], keys), self._joined(self.prefix.values[layer], values)

    @staticmethod
    def _joined(first: Tensor, own: Tensor) -> Tensor:
        return torch.cat([first[None].expand(len(own), -1, -1, -1), own], dim=2)
