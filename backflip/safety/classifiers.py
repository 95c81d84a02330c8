"""Filters that ask a model by its folder or hub id: a text classifier, or a guard that writes "safe" or "unsafe"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backflip.errors import ConfigError, ModelError
from backflip.lm.heads import Causal
from backflip.lm.labels import LabelModel
from backflip.lm.sampler import LocalSampler, SamplerConfig
from backflip.lm.tokens import Tokens
from backflip.records import Message
from backflip.safety.trained import decide
from backflip.safety.verdict import Context, Verdict

__all__ = ["GuardFilter", "LabelFilter"]

_UNSAFE = re.compile(r"^\s*unsafe\b[\s:,]*(?P<codes>.*)", re.IGNORECASE | re.DOTALL)
_SAFE = re.compile(r"^\s*safe\b", re.IGNORECASE)


@dataclass(frozen=True)
class LabelFilter:
    """Any Transformers text classifier: blocks what reaches the threshold of a label that is named."""

    model: LabelModel
    thresholds: Mapping[str, float]

    def __post_init__(self) -> None:
        if unknown := set(self.thresholds) - set(self.model.labels):
            raise ConfigError(
                f"{self.model.name} has no label {min(unknown)!r}; wanted some of {', '.join(self.model.labels)}"
            )
        if not self.thresholds:
            raise ConfigError(f"no label of {self.model.name} would block; name some of {', '.join(self.model.labels)}")

    @classmethod
    def load(cls, folder: str | Path, thresholds: Mapping[str, float], *, device: str = "cpu") -> LabelFilter:
        """Raises ModelError where there is no such classifier, ConfigError at a label that it does not have."""
        return cls(LabelModel.load(folder, device=device), dict(thresholds))

    @property
    def name(self) -> str:
        return f"classifier {Path(self.model.name).name}"

    def check(self, text: str, context: Context = Context()) -> Verdict:  # noqa: ARG002, B008
        """Each label has its probability."""
        return decide(self.model.probabilities([text])[0], self.thresholds, name=self.name)


@dataclass(frozen=True)
class GuardFilter:
    """A Llama-Guard-like model: through its chat template it is shown the dialogue, and writes its verdict.

    What it writes begins with "safe", or with "unsafe" and the codes of its categories (arXiv 2312.06674). Anything
    else is an error, and so blocks in `AllOf`.
    """

    sampler: LocalSampler
    tokens: Tokens
    name: str

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", max_tokens: int = 24) -> GuardFilter:
        """Raises ModelError where there is no causal model with a tokenizer."""
        model = Causal.load(folder, device=device)
        sampler = LocalSampler(model.eval(), SamplerConfig(max_tokens, temperature=0.0))
        return cls(sampler, Tokens(model.tokenizer, name=f"the tokenizer of {folder}"), f"guard {Path(folder).name}")

    def check(self, text: str, context: Context = Context()) -> Verdict:  # noqa: B008
        """The category `unsafe`, and one for each code that the guard names. Raises ModelError at another answer."""
        dialogue = (*context.before, Message(context.role, text))
        ids = self.tokens.dialogue(dialogue)
        said = self.tokens.decode(self.sampler.sample([ids], samples=1)[0][0].tokens)
        if _SAFE.match(said):
            return Verdict(True, {"unsafe": 0.0})
        if not (unsafe := _UNSAFE.match(said)):
            raise ModelError(f"{self.name} wrote {said[:40]!r}; wanted 'safe', or 'unsafe' and its categories")
        codes = re.findall(r"\b[A-Z]\d+\b", unsafe["codes"])
        return Verdict(
            False, {"unsafe": 1.0, **dict.fromkeys(codes, 1.0)}, f"{self.name}: {', '.join(codes) or 'unsafe'}"
        )
