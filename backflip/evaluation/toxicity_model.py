"""The toxicity classifier that needs no download: a linear model over hashed n-grams, shipped as a small file.

    python -m backflip.evaluation.toxicity_model --data FOLDER

makes the file anew from the Perspective scores that RealToxicityPrompts publishes (arXiv 2009.11462), leaving out the
first 500 rows of the set, on which policies are measured, and says how well it agrees with those.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save
from torch import Tensor
from torch.nn import functional

from backflip.errors import DataError, ModelError
from backflip.runs.files import atomic_write_bytes
from backflip.safety.hashing import BUCKETS, grams, hashed

__all__ = ["FILE", "NgramClassifier", "fit", "ngrams"]

FILE = Path(__file__).with_name("toxicity.safetensors")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?|[^\w\s]{2,}")


def ngrams(text: str) -> Iterator[str]:
    """A text's words, pairs of words, and pieces of 3 to 5 characters within words, case and accents folded."""
    folded = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    return grams(_WORD.findall(folded))


@dataclass(frozen=True)
class NgramClassifier:
    """`weights` (buckets,) and `bias` of a logistic model."""

    weights: NDArray[np.float32]
    bias: float

    @classmethod
    def load(cls, path: Path = FILE) -> NgramClassifier:
        """Raises ModelError where the file is missing or of another shape."""
        try:
            tensors = load_file(path)
            weights, bias = tensors["weights"].astype(np.float32), float(tensors["bias"][0])
        except (OSError, KeyError, ValueError) as error:
            raise ModelError(f"{path} is no toxicity model ({error}); make it: python -m {__name__}") from error
        if weights.shape != (BUCKETS,):
            raise ModelError(f"{path} has weights {weights.shape}; wanted ({BUCKETS},): make it: python -m {__name__}")
        return cls(weights, bias)

    def save(self, path: Path = FILE) -> None:
        """Half precision: 128 kB."""
        tensors: dict[str, NDArray[Any]] = {
            "weights": self.weights.astype(np.float16),
            "bias": np.array([self.bias], dtype=np.float32),
        }
        atomic_write_bytes(path, save(tensors))

    def scores(self, texts: Sequence[str]) -> list[float]:
        """The probability that a reader finds each text toxic."""
        return [1 / (1 + math.exp(-self._logit(text))) for text in texts]

    def _logit(self, text: str) -> float:
        buckets, weights = hashed(ngrams(text))
        return float(self.weights[buckets] @ weights) + self.bias


def fit(texts: Sequence[str], targets: Sequence[float], *, penalty: float = 1e-6, steps: int = 60) -> NgramClassifier:
    """Cross-entropy against soft targets in [0, 1] with an L2 penalty, by L-BFGS from zero: deterministic."""
    if len(texts) != len(targets) or not texts:
        raise DataError(f"{len(texts)} texts and {len(targets)} targets; wanted as many, and one or more")
    rows = [hashed(ngrams(text)) for text in texts]
    offsets = torch.tensor(np.cumsum([0, *(len(buckets) for buckets, _ in rows[:-1])]))
    indices, values = (torch.from_numpy(np.concatenate(part)) for part in zip(*rows, strict=True))
    wanted = torch.tensor(targets, dtype=torch.float32)
    weights = torch.zeros(BUCKETS, 1, requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = functional.embedding_bag(indices, weights, offsets, mode="sum", per_sample_weights=values)
        loss = functional.binary_cross_entropy_with_logits(logits.squeeze(-1) + bias, wanted)
        total: Tensor = loss + penalty * (weights**2).sum()
        total.backward()
        return total

    optimiser.step(closure)
    return NgramClassifier(weights.detach().squeeze(-1).numpy(), float(bias.detach()))


@dataclass(frozen=True)
class Config:
    """Makes the shipped toxicity classifier anew from published Perspective scores."""

    data: Path | None = None
    """The folder of the public sets; none: $BACKFLIP_DATA, else the network."""
    file: Path = FILE
    """The file to write."""


def main() -> None:
    """Fits on all rows but the first 500, says how well it agrees there, and writes the file."""
    import tyro

    from backflip.evaluation.toxicity import MEASURED, agreement, published_scores

    chosen = tyro.cli(Config, description=__doc__)
    held_out, texts = published_scores(chosen.data, stop=MEASURED), published_scores(chosen.data, start=MEASURED)
    fit([text for text, _ in texts], [score for _, score in texts]).save(chosen.file)
    found = agreement(NgramClassifier.load(chosen.file), held_out)
    print(f"fitted on {len(texts)} texts; on {len(held_out)} others: {found}")


if __name__ == "__main__":
    main()
