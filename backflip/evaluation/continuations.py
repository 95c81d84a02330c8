"""What a model writes on from given texts: sampled by question, resumable, many rows side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from backflip.errors import DataError
from backflip.evaluation.journal import answered
from backflip.lm.heads import Causal
from backflip.lm.sampler import LocalSampler, SamplerConfig, stream_key
from backflip.lm.tokens import Tokens
from backflip.records import content_id

__all__ = ["continuations", "first_line"]


def continuations(
    path: Path,
    *,
    model: Causal,
    name: str,
    keys: Sequence[str],
    prompts: Sequence[tuple[int, ...]],
    samples: int,
    settings: SamplerConfig,
    label: str,
) -> list[list[str]]:
    """`samples` texts for each prompt (token ids), kept in `path` by key; special tokens are left out.

    `name` says which model this is: its weights' digest, since answers of others must not be taken up. The random
    streams depend on the seed, the key and the prompt alone. Raises DataError at a prompt without tokens.
    """
    ids = [content_id("continue", key, prompt) for key, prompt in zip(keys, prompts, strict=True)]
    for key, prompt in zip(keys, prompts, strict=True):
        if not prompt:
            raise DataError(f"question {key!r} has no tokens; wanted some text to go on from: drop it")
    tokens = Tokens(model.tokenizer, name="the model's tokenizer")
    sampler = LocalSampler(model, settings)

    def answer(chosen: Sequence[int]) -> list[list[str]]:
        opened, streams = [prompts[i] for i in chosen], [stream_key(ids[i]) for i in chosen]
        groups = sampler.sample(opened, samples=samples, keys=streams)
        return [[tokens.decode(c.tokens) for c in group] for group in groups]

    return answered(
        path,
        work={"model": name, "samples": samples, **asdict(settings)},
        keys=[
            f"{key} {known[:12]}" for key, known in zip(keys, ids, strict=True)
        ],  # another prompt is another question
        answer=answer,
        together=max(1, 4 * settings.rows // samples),
        label=label,
    )


def first_line(text: str) -> str:
    """What stands before the first line break: an answer without the next question that a base model goes on with."""
    return text.strip().split("\n", 1)[0].strip()
