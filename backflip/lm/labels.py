"""Text classification models from Transformers: texts (or pairs of texts) in, the probability of each label out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from backflip.errors import ModelError
from backflip.lm import backbone

__all__ = ["LabelModel"]

_BATCH = 32


@dataclass(frozen=True)
class LabelModel:
    """A classifier with its tokenizer; `labels` are as its config.json names them."""

    model: Any
    tokenizer: Any
    labels: tuple[str, ...]
    name: str

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> LabelModel:
        """Raises ModelError where the folder (or cached hub id) is no text classification model with a tokenizer."""
        model, tokenizer = backbone.load_labelled(folder, device=device), backbone.load_tokenizer(folder)
        names = {int(k): str(v) for k, v in model.config.id2label.items()}
        return cls(model, tokenizer, tuple(names[i] for i in sorted(names)), str(folder))

    def named(self, *wanted: str) -> str:
        """The label of one of these names, whatever its case. Raises ModelError where there is none."""
        for name in wanted:
            for label in self.labels:
                if label.lower() == name.lower():
                    return label
        raise ModelError(f"{self.name} has the labels {', '.join(self.labels)}; wanted {' or '.join(wanted)}: name one")

    @torch.inference_mode()
    def probabilities(self, texts: Sequence[str], seconds: Sequence[str] | None = None) -> list[dict[str, float]]:
        """Each label's probability: of one label out of all, or each for itself where the model says multi-label.

        `seconds`: the second text of each pair. Texts of like length go together; what is too long is cut at its end,
        of a pair the first text.
        """
        found: list[dict[str, float]] = [{} for _ in texts]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            pairs = ([seconds[i] for i in chosen],) if seconds is not None else ()
            cut: Any = "only_first" if pairs else True
            inputs = self.tokenizer(
                [texts[i] for i in chosen], *pairs, padding=True, truncation=cut, return_tensors="pt"
            )
            logits = self.model(**inputs.to(self.model.device)).logits.double()
            many = self.model.config.problem_type == "multi_label_classification" or len(self.labels) == 1
            rows = (logits.sigmoid() if many else logits.softmax(-1)).tolist()
            for i, row in zip(chosen, rows, strict=True):
                found[i] = dict(zip(self.labels, row, strict=True))
        return found
