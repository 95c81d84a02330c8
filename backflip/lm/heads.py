"""Models that stand on a backbone: a causal policy and a scalar model (reward, value).

Both hold the same backbone; what they add is a head. Neither ever makes a (batch, length, vocabulary) tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backflip.lm import backbone as models
from backflip.lm.backbone import Backbone
from backflip.lm.linear import FastLinear
from backflip.lm.lora import adapters_off, add_lora, fold
from backflip.lm.packing import Packed
from backflip.lm.scoring import Scores, token_scores
from backflip.lm.specs import split_group

__all__ = ["Causal", "Scalar", "trainable"]


class Causal(nn.Module):
    """A language model: log-probabilities of given tokens, and next-token logits for the sampler."""

    def __init__(self, backbone: Backbone, head: nn.Linear, tokenizer: Any) -> None:
        super().__init__()
        self.backbone, self.head, self.tokenizer = backbone, head, tokenizer
        self.split = 0  # layers below are frozen, shared with the reference

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", dropout: float = 0.0) -> Causal:
        """Raises ModelError where the folder is not a causal model with a tokenizer."""
        tokenizer = models.load_tokenizer(folder)
        backbone, head = models.load_causal(folder, device=device)
        backbone.residual_dropout(dropout)
        return cls(backbone, head, tokenizer)

    def adapt(self, *, rank: int, layers: int, alpha: float, dropout: float = 0.0) -> None:
        """Freezes all weights and puts LoRA on the upper `layers` (0: on all). Rank 0 leaves all weights trainable."""
        if rank:
            self.head.requires_grad_(False)
            self.split = _adapt(self.backbone, rank=rank, layers=layers, alpha=alpha, dropout=dropout)

    def scores(
        self, packed: Packed, *, temperature: float = 1.0, lower: Tensor | None = None, reference: bool = False
    ) -> Scores:
        """Log-probabilities (scored,) of `packed.targets`; `reference` runs with the adapters off."""
        with adapters_off(self) if reference else nullcontext():
            states = self.backbone(packed, lower=lower, split=self.split)
        return token_scores(_picked(states, packed.sources), self.head.weight, packed.targets, temperature=temperature)

    def save(self, folder: Path) -> None:
        """An ordinary Transformers folder for AutoModelForCausalLM, adapters merged."""
        models.save_causal(folder, self.backbone, self.head, self.tokenizer)


class Scalar(nn.Module):
    """A backbone with one number a token: a reward model reads the last, a value net reads all.

    A head drawn anew is normal with standard deviation 1/sqrt(hidden + 1) (A). It has no bias of its own:
    `reward_offset` is subtracted from every score, so that demonstrations score 0 on average (P).
    """

    def __init__(self, backbone: Backbone, head: nn.Linear, tokenizer: Any, *, offset: float = 0.0) -> None:
        super().__init__()
        self.backbone, self.head, self.tokenizer = backbone, FastLinear.sharing(head), tokenizer
        self.reward_offset = offset
        self.split = 0

    @classmethod
    def on_trunk(cls, backbone: Backbone, tokenizer: Any, *, seed: int) -> Scalar:
        """A fresh head on the given trunk."""
        head = nn.Linear(backbone.hidden, 1, bias=False, device=backbone.device)
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(1, backbone.hidden, generator=generator) / math.sqrt(backbone.hidden + 1)
        head.weight.data.copy_(weight)
        return cls(backbone, head, tokenizer)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> Scalar:
        """Raises ModelError where the folder is not a one-label sequence classifier with a tokenizer.

        `FOLDER#GROUP` is one group's reward of a model that has several.
        """
        path, label = split_group(folder)
        tokenizer = models.load_tokenizer(path)
        backbone, head, offset = models.load_classifier(path, label=label, device=device)
        return cls(backbone, head, tokenizer, offset=offset)

    def adapt(self, *, rank: int, layers: int, alpha: float, dropout: float = 0.0) -> None:
        """As `Causal.adapt`; the head stays trainable."""
        if rank:
            self.split = _adapt(self.backbone, rank=rank, layers=layers, alpha=alpha, dropout=dropout)

    def fold(self) -> None:
        """Makes the adapters part of the weights, for good."""
        fold(self)

    @torch.no_grad()
    def clear(self) -> None:
        """Every number is 0 from here on, until the head is trained."""
        self.head.weight.zero_()
        self.reward_offset = 0.0

    def _numbers(self, packed: Packed, places: Tensor, lower: Tensor | None) -> Tensor:
        states = self.backbone(packed, lower=lower, split=self.split)
        numbers: Tensor = self.head(_picked(states, places)).squeeze(-1)
        return numbers - self.reward_offset

    def rewards(self, packed: Packed, *, lower: Tensor | None = None) -> Tensor:
        """(responses,): the score at each response's last token, less the offset."""
        return self._numbers(packed, packed.last, lower)

    def values(self, packed: Packed, *, lower: Tensor | None = None) -> Tensor:
        """(scored,): the value of the state before each scored token."""
        return self._numbers(packed, packed.sources, lower)

    def save(self, folder: Path) -> None:
        """An ordinary Transformers folder for AutoModelForSequenceClassification, adapters merged."""
        models.save_classifier(folder, self.backbone, self.head, self.tokenizer, offset=self.reward_offset)


def _picked(states: Tensor, places: Tensor) -> Tensor:
    """(places, hidden). The gradient of plain indexing would add up, where all samples of a prompt leave it at one
    place, in the order in which threads come by: another number each time."""
    return states.flatten(0, 1).index_select(0, places)


def _adapt(backbone: Backbone, *, rank: int, layers: int, alpha: float, dropout: float) -> int:
    """Freezes the backbone under LoRA; returns the layer below which nothing is trained."""
    backbone.requires_grad_(False)
    first = backbone.depth - layers if layers else 0
    add_lora(backbone.layers, rank=rank, first=first, alpha=alpha, dropout=dropout)
    return first if backbone.is_ladder else 0


def trainable(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    """The parameters that a gradient reaches, each once, in a fixed order."""
    seen: dict[int, nn.Parameter] = {}
    for module in modules:
        for parameter in module.parameters():
            if parameter.requires_grad:
                seen.setdefault(id(parameter), parameter)
    return list(seen.values())
