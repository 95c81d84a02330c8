"""A linear classifier over hashed n-grams: trained in seconds, asked in microseconds, its file is a few hundred kB.

A label is a logistic model of its own on shared features: a text's words, pairs of words, and pieces of words, each
counted as 1 + log n, the whole scaled to length 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor
from torch.nn import functional

from backflip.errors import DataError, ModelError
from backflip.runs.files import atomic_write_bytes
from backflip.safety.fold import fold
from backflip.safety.hashing import BUCKETS, grams, hashed

__all__ = ["NgramModel", "fit", "ngrams"]

_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_]+(?:'[^\W_]+)?|[^\w\s]{2,}")


def ngrams(text: str) -> Iterator[str]:
    """Words (Chinese: characters), pairs of them, and pieces of 3 to 5 characters within words, of the folded text."""
    return grams(_WORD.findall(fold(text).replace("’", "'")))


class _Bags(NamedTuple):
    """Texts as bags of buckets, one after the other: `indices` and `weights` (n,), `offsets` (texts,)."""

    indices: Tensor
    weights: Tensor
    offsets: Tensor

    def logits(self, table: Tensor, bias: Tensor) -> Tensor:
        """`table` (buckets, labels), `bias` (labels,) -> (texts, labels)."""
        summed = functional.embedding_bag(
            self.indices, table, self.offsets, mode="sum", per_sample_weights=self.weights
        )
        return summed + bias


@dataclass(frozen=True)
class NgramModel:
    """`table` (buckets, labels) and `bias` (labels,) of logistic models."""

    labels: tuple[str, ...]
    table: NDArray[np.float32]
    bias: NDArray[np.float32]

    @classmethod
    def load(cls, path: Path) -> NgramModel:
        """Raises ModelError where the file is missing or is not one of these."""
        try:
            tensors = load_file(path)
            labels = tuple(tensors["labels"].tobytes().decode().split("\n"))
            table, bias = tensors["table"].astype(np.float32), tensors["bias"]
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise ModelError(f"{path} is no n-gram classifier ({error}); wanted one that was trained here") from error
        if table.shape != (BUCKETS, len(labels)) or bias.shape != (len(labels),):
            raise ModelError(
                f"{path} has a table of {table.shape} for {len(labels)} labels; wanted ({BUCKETS}, labels)"
            )
        return cls(labels, table, bias)

    def save(self, path: Path) -> None:
        """Weights in half precision: 128 kB a label."""
        names = np.frombuffer("\n".join(self.labels).encode(), dtype=np.uint8)
        tensors: dict[str, NDArray[Any]] = {"labels": names, "table": self.table.astype(np.float16), "bias": self.bias}
        atomic_write_bytes(path, save(tensors))

    def scores(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, labels): the probability that each text has each label."""
        if not texts:
            return np.zeros((0, len(self.labels)), dtype=np.float32)
        logits = _bags(texts).logits(torch.from_numpy(self.table), torch.from_numpy(self.bias))
        scores: NDArray[np.float32] = torch.sigmoid(logits).numpy()
        return scores


def fit(
    texts: Sequence[str], targets: ArrayLike, *, labels: Sequence[str], penalty: float = 1e-5, steps: int = 60
) -> NgramModel:
    """Cross-entropy with an L2 penalty, by L-BFGS from zero: deterministic.

    `targets` (texts, labels) are probabilities; NaN where a text was not labelled, which then says nothing.
    Raises DataError where shapes differ, or a label has no text.
    """
    wanted = torch.as_tensor(np.asarray(targets, dtype=np.float32))
    if wanted.shape != (len(texts), len(labels)) or not texts:
        raise DataError(f"{len(texts)} texts and targets {tuple(wanted.shape)}; wanted (texts, {len(labels)} labels)")
    known = ~torch.isnan(wanted)
    counts = known.sum(0)
    if bool((counts == 0).any()):
        raise DataError(
            f"no text is labelled for {labels[int(counts.argmin())]!r}; wanted one or more, or leave it out"
        )
    bags, known_targets = _bags(texts), wanted.nan_to_num(0.0)
    table = torch.zeros(BUCKETS, len(labels), requires_grad=True)
    bias = torch.zeros(len(labels), requires_grad=True)
    optimiser = torch.optim.LBFGS([table, bias], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        each = functional.binary_cross_entropy_with_logits(bags.logits(table, bias), known_targets, reduction="none")
        loss: Tensor = ((each * known).sum(0) / counts).sum() + penalty * table.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return NgramModel(tuple(labels), table.detach().numpy(), bias.detach().numpy())


def _bags(texts: Sequence[str]) -> _Bags:
    rows = [hashed(ngrams(text)) for text in texts]
    offsets = np.cumsum([0, *(len(buckets) for buckets, _ in rows[:-1])])
    indices, weights = (np.concatenate(part) for part in zip(*rows, strict=True))
    return _Bags(torch.from_numpy(indices), torch.from_numpy(weights), torch.from_numpy(offsets))
