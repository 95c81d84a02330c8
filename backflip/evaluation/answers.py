"""What a policy writes for a set of prompts, kept in a file; and how far it went from a reference, in nats."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from backflip.errors import CheckpointError, DataError
from backflip.lm.data import MicroBatches
from backflip.lm.heads import Causal
from backflip.lm.packing import Tree
from backflip.lm.sampler import LocalSampler, SamplerConfig, stream_key
from backflip.lm.specs import PYTHON, imported
from backflip.lm.tokens import Tokens
from backflip.records import Message, Prompt, content_id
from backflip.runs.files import atomic_write_text
from backflip.runs.progress import progress

__all__ = ["Written", "kl_to_reference", "sampled", "with_system"]


@dataclass(frozen=True)
class Written:
    """One answer: its text, the tokens that were sampled, and their logprobs at the sampling temperature."""

    text: str
    ended: bool
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


def with_system(prompt: Prompt, system: str | None) -> Prompt:
    """The dialogue under another system message, or as `python:module:function` (Prompt -> Prompt) rewrites it.

    None leaves it as it is. Raises DataError for plain text under a system message, ConfigError for no such function.
    """
    if system is None:
        return prompt
    if system.startswith(PYTHON):
        rewritten: Prompt = imported(system, what="prompting", signature="Prompt -> Prompt")(prompt)
        return rewritten
    if not prompt.messages:
        raise DataError(f"prompt {prompt.id[:12]} is plain text, which takes no system message; use dialogues")
    turns = tuple(message for message in prompt.messages if message.role != "system")
    return replace(prompt, messages=(Message("system", system), *turns))


def sampled(
    path: Path,
    *,
    name: str,
    model: str,
    prompts: Sequence[Prompt],
    samples: int,
    system: str | None = None,
    settings: SamplerConfig,
    device: str = "cpu",
) -> list[list[Written]]:
    """`samples` answers to each prompt under `system`: from `path` if they are there, else sampled and written there.

    The random streams depend on seed, `name` and prompt alone: two policies never share their luck.
    Raises ModelError where the model does not serve, DataError at a prompt without tokens, CheckpointError where the
    file is of other work.
    """
    if path.exists():
        return _read(path, prompts, samples)
    policy = Causal.load(model, device=device)
    tokens = Tokens(policy.tokenizer, name=f"the tokenizer of {model!r}")
    ids = [tokens.opening(with_system(prompt, system)) for prompt in prompts]
    keys = [stream_key(content_id("evaluate", name, prompt.id)) for prompt in prompts]
    with progress(samples * len(prompts), f"answers of {name}") as step:
        sampler = LocalSampler(policy, settings, on_done=lambda _: step())
        groups = sampler.sample(ids, samples=samples, keys=keys)
    answers = [[Written(tokens.decode(c.tokens), c.ended, c.tokens, c.logprobs) for c in group] for group in groups]
    _write(path, prompts, answers)
    return answers


@torch.no_grad()
def kl_to_reference(
    reference: Causal,
    prompts: Sequence[Prompt],
    answers: Sequence[Sequence[Written]],
    *,
    temperature: float = 1.0,
    batch_tokens: int = 4096,
) -> list[list[float]]:
    """Of each answer `sum over tokens of log p - log p_ref`: unbiased for the policy's sequence KL, of either sign.

    `prompts` are as the reference reads them; log p is what the sampler recorded. Both are at `temperature`.
    """
    tokens, kls = Tokens(reference.tokenizer, name="the reference's tokenizer"), []
    reference.eval()
    trees = [Tree(tokens.prompt(p), tuple(w.tokens for w in row)) for p, row in zip(prompts, answers, strict=True)]
    for indices, packed in MicroBatches(trees, tokens=batch_tokens, pad=tokens.pad):
        scores = reference.scores(packed.to(reference.backbone.device), temperature=temperature).logprobs.double()
        sums = iter([part.sum().item() for part in scores.split(list(packed.lengths))])
        kls += [[sum(written.logprobs) - next(sums) for written in answers[i]] for i in indices]
    return kls


def _write(path: Path, prompts: Sequence[Prompt], answers: Sequence[Sequence[Written]]) -> None:
    rows: list[Mapping[str, Any]] = [
        {"prompt": prompt.id, "sample": k, **asdict(written)}
        for prompt, row in zip(prompts, answers, strict=True)
        for k, written in enumerate(row)
    ]
    atomic_write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _read(path: Path, prompts: Sequence[Prompt], samples: int) -> list[list[Written]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    wanted = [(prompt.id, k) for prompt in prompts for k in range(samples)]
    if [(row["prompt"], row["sample"]) for row in rows] != wanted:
        raise CheckpointError(f"{path} holds answers to other prompts; delete it, and the same command samples anew")
    written = [Written(r["text"], r["ended"], tuple(r["tokens"]), tuple(r["logprobs"])) for r in rows]
    return [written[i : i + samples] for i in range(0, len(written), samples)]
