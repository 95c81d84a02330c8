"""Rewards for texts: text goes in, a score comes out, whatever made the text.

A reward is named by a spec, so that a configuration can hold it: the folder of a reward model
(`"runs/demo/reward/model"`) or a Python function `(prompt, text, ended) -> float` (`"python:package.module:function"`).
The model's tokenizer may differ from the policy's, since texts are exchanged and never tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from backflip.errors import ConfigError, DataError, TrainingDiverged
from backflip.lm.data import MicroBatches, cut_left
from backflip.lm.heads import Scalar
from backflip.lm.lora import merged
from backflip.lm.packing import Tree
from backflip.lm.specs import PYTHON, imported
from backflip.lm.tokens import Tokens
from backflip.records import Prompt

__all__ = [
    "MAX_LENGTH",
    "PythonReward",
    "RewardFolder",
    "Rewards",
    "WeightedRewards",
    "WorstReward",
    "load_reward",
    "micro_batches",
    "reward_tree",
    "score_trees",
    "weighted",
]

MAX_LENGTH = "reward_max_length"  # the config.json key of the length that a reward model was trained to read
TextReward = Callable[[Prompt, str, bool], float]
Ended = Sequence[Sequence[bool]]


class Rewards(Protocol):
    """Whatever scores texts."""

    def scores(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], ended: Ended | None = None
    ) -> list[list[float]]:
        """A score for each answer to each prompt; `ended` is false where a length limit cut it off (default: none).

        Raises DataError if the lengths differ, TrainingDiverged that names the prompt if a score is not finite.
        """
        ...


@dataclass(frozen=True)
class RewardFolder:
    """A reward model and its own tokenizer. `max_length` (0: none) is what it reads at most, as in its training."""

    model: Scalar
    tokens: Tokens
    max_length: int = 0
    batch_tokens: int = 4096

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", batch_tokens: int = 4096) -> RewardFolder:
        """Raises ModelError where the folder is not a reward model with a tokenizer."""
        model = Scalar.load(folder, device=device).eval().requires_grad_(False)
        tokens = Tokens(model.tokenizer, name=f"the tokenizer of {str(folder)!r}")
        return cls(model, tokens, int(getattr(model.backbone.config, MAX_LENGTH, 0)), batch_tokens)

    def scores(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], ended: Ended | None = None
    ) -> list[list[float]]:
        """As `Rewards.scores`: in passes of at most `batch_tokens`, each prompt once, each answer once."""
        rows = _rows(prompts, answers, ended)
        trees = [reward_tree(self.tokens, p, texts, ends, max_length=self.max_length) for p, texts, ends in rows]
        found = iter(score_trees(self.model, [t for t in trees if t.responses], self.batch_tokens, self.tokens.pad))
        return _finite(prompts, [next(found) if tree.responses else [] for tree in trees], "the reward model")


@dataclass(frozen=True)
class PythonReward:
    """A Python function as a reward."""

    function: TextReward
    name: str = "the function"

    def scores(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], ended: Ended | None = None
    ) -> list[list[float]]:
        """As `Rewards.scores`."""
        rows = _rows(prompts, answers, ended)
        given = [[self.function(p, t, e) for t, e in zip(texts, ends, strict=True)] for p, texts, ends in rows]
        return _finite(prompts, [[float(score) for score in row] for row in given], self.name)


@dataclass(frozen=True)
class WeightedRewards:
    """The weighted sum of several rewards."""

    parts: tuple[tuple[Rewards, float], ...]

    def scores(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], ended: Ended | None = None
    ) -> list[list[float]]:
        """As `Rewards.scores`."""
        total = [[0.0] * len(row) for row in answers]
        for reward, weight in self.parts:
            given = reward.scores(prompts, answers, ended)
            total = [[t + weight * g for t, g in zip(a, b, strict=True)] for a, b in zip(total, given, strict=True)]
        return total


@dataclass(frozen=True)
class WorstReward:
    """The least of several rewards, each times its weight: no group pays for another's gain."""

    parts: tuple[tuple[Rewards, float], ...]

    def scores(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], ended: Ended | None = None
    ) -> list[list[float]]:
        """As `Rewards.scores`."""
        given = [(reward.scores(prompts, answers, ended), weight) for reward, weight in self.parts]
        return [
            [min(weight * rows[i][k] for rows, weight in given) for k in range(len(row))]
            for i, row in enumerate(answers)
        ]


def load_reward(spec: str, *, device: str = "cpu") -> Rewards:
    """The reward that `spec` names: `python:module:function`, else a reward model's folder (`FOLDER#GROUP` for one of
    several groups').

    Raises ConfigError where there is no such function, ModelError where there is no such model.
    """
    if not spec.startswith(PYTHON):
        return RewardFolder.load(spec, device=device)
    function = imported(spec, what="reward", signature="(prompt, text, ended) -> float")
    return PythonReward(function, spec)


def weighted(specs: Sequence[tuple[str, float]], *, worst: bool = False, device: str = "cpu") -> Rewards:
    """The weighted sum, or the `worst`, of the named rewards. Raises as `load_reward`; ConfigError without any."""
    if not specs or not all(math.isfinite(weight) for _, weight in specs):
        raise ConfigError(f"rewards are {list(specs)}; wanted one or more (spec, weight) with finite weights")
    parts = tuple((load_reward(spec, device=device), weight) for spec, weight in specs)
    return WorstReward(parts) if worst else WeightedRewards(parts)


def reward_tree(
    tokens: Tokens, prompt: Prompt, texts: Sequence[str], ended: Sequence[bool], *, max_length: int = 0
) -> Tree:
    """A prompt and its answers as a reward model reads them, in training and after; cut as `cut_left` does.

    An answer that a limit cut off has no EOS. One without any token reads as its end alone, for there is nothing else.
    """
    pairs = zip(texts, ended, strict=True)
    return cut_left(
        Tree(tokens.prompt(prompt), tuple(tokens.answer(t, ended=e or not tokens.text(t)) for t, e in pairs)),
        max_length,
    )


def micro_batches(trees: Sequence[Tree], tokens: int, pad: int) -> MicroBatches:
    """Passes of at most `tokens` tokens, in rows as long as the longest tree: no row is mostly padding."""
    return MicroBatches(trees, tokens=tokens, row_length=max((t.length for t in trees), default=0), pad=pad)


@torch.no_grad()
def score_trees(model: Scalar, trees: Sequence[Tree], tokens: int, pad: int) -> list[list[float]]:
    """The scores of each tree's responses, without gradients, in passes of at most `tokens` tokens."""
    device, scores = model.backbone.device, []
    with merged(model):
        for indices, packed in micro_batches(trees, tokens, pad):
            flat = iter(model.rewards(packed.to(device)).tolist())
            scores += [[next(flat) for _ in trees[i].responses] for i in indices]
    return scores


def _rows(prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], ended: Ended | None) -> list[Any]:
    ends = [[True] * len(row) for row in answers] if ended is None else ended
    sizes = [[len(row) for row in rows] for rows in (answers, ends)]
    if len(prompts) != len(answers) or sizes[0] != sizes[1]:
        raise DataError(
            f"{len(prompts)} prompts with {sizes[0]} answers and {sizes[1]} ends; wanted a list of answers a prompt, "
            "and whether each ended"
        )
    return list(zip(prompts, answers, ends, strict=True))


def _finite(prompts: Sequence[Prompt], scores: list[list[float]], name: str) -> list[list[float]]:
    for prompt, row in zip(prompts, scores, strict=True):
        if bad := [score for score in row if not math.isfinite(score)]:
            raise TrainingDiverged(
                f"{name} scored an answer to prompt {prompt.id[:12]} with {bad[0]}; wanted a finite number: look at "
                "what was written there, or at how the reward was made"
            )
    return scores
