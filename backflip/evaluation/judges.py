"""Judges of truth that you name: a causal model finetuned to say yes or no (as GPT-judge is), or a Python function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from backflip.evaluation.bias import distribution
from backflip.evaluation.choices import continued, option_logprobs
from backflip.lm.heads import Causal
from backflip.lm.specs import PYTHON, imported
from backflip.lm.tokens import Tokens

__all__ = ["TruthJudge", "load_truth_judge"]


class TruthJudge(Protocol):
    """Whatever says how likely answers are true (or informative)."""

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Of each (question, answer) a probability."""
        ...


@dataclass(frozen=True)
class _YesOrNo:
    """Reads `Q: ...\\nA: ...\\nTrue:` as in the published judges' training data; P(yes) of yes and no."""

    model: Causal
    word: str

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        tokens = Tokens(self.model.tokenizer, name="the judge's tokenizer")
        choices = [continued(tokens, q, f"Q: {q}\nA: {a}\n{self.word}:", [" yes", " no"]) for q, a in pairs]
        return [distribution(row)[0] for row in option_logprobs(self.model, choices)]


@dataclass(frozen=True)
class _Function:
    function: Any

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        return [float(self.function(question, answer)) for question, answer in pairs]


def load_truth_judge(spec: str, *, word: str = "True", device: str = "cpu") -> TruthJudge:
    """`python:module:function` (question, answer -> float), else a causal model; `word` is what it is asked for.

    The published judge of information is asked for `Helpful`. Raises ConfigError, ModelError where there is none.
    """
    if spec.startswith(PYTHON):
        return _Function(imported(spec, what="judge", signature="(question, answer) -> float"))
    return _YesOrNo(Causal.load(spec, device=device), word)
