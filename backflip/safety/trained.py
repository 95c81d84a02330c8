"""A filter that was trained here: an n-gram classifier with a threshold a category (`backflip safety train`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backflip.errors import ModelError
from backflip.runs.files import atomic_write_json
from backflip.safety.ngrams import NgramModel
from backflip.safety.verdict import Context, Verdict

__all__ = ["MODEL", "SETTINGS", "TrainedFilter", "decide"]

MODEL: Final = "model.safetensors"
SETTINGS: Final = "safety.json"


@dataclass(frozen=True)
class TrainedFilter:
    """Blocks what reaches the threshold of any category."""

    model: NgramModel
    thresholds: Mapping[str, float]
    name: str = "trained filter"

    def __post_init__(self) -> None:
        if missing := set(self.model.labels) - set(self.thresholds):
            raise ModelError(f"{self.name} has no threshold for {min(missing)!r}; wanted one a label")

    @classmethod
    def load(cls, folder: Path) -> TrainedFilter:
        """Raises ModelError where the folder holds no filter that was trained here."""
        try:
            settings = json.loads((folder / SETTINGS).read_bytes())
            thresholds = {str(label): float(value) for label, value in settings["thresholds"].items()}
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise ModelError(f"{folder} is no trained filter ({error}); make one: backflip safety train") from error
        return cls(NgramModel.load(folder / MODEL), thresholds, name=f"trained filter {folder.name}")

    def save(self, folder: Path) -> None:
        """Writes the classifier, and then the thresholds: without these the folder is no filter."""
        self.model.save(folder / MODEL)
        atomic_write_json(folder / SETTINGS, {"thresholds": dict(self.thresholds)})

    def check(self, text: str, context: Context = Context()) -> Verdict:  # noqa: ARG002, B008
        """Each category has the classifier's probability."""
        scores = dict(zip(self.model.labels, map(float, self.model.scores([text])[0]), strict=True))
        return decide(scores, self.thresholds, name=self.name)


def decide(scores: Mapping[str, float], thresholds: Mapping[str, float], *, name: str) -> Verdict:
    """Blocks if a category's score reaches its threshold; a category without one is only reported."""
    over = sorted(label for label, least in thresholds.items() if scores.get(label, 0.0) >= least)
    return Verdict(not over, scores, f"{name}: {', '.join(over)}" if over else "")
