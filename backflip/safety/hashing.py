"""Texts as bags of hashed n-grams: what the linear classifiers look at, whichever way each of them reads words."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["BUCKETS", "grams", "hashed"]

BUCKETS = 2**16
_PIECES = (3, 4, 5)


def grams(words: Sequence[str]) -> Iterator[str]:
    """The words, pairs of neighbours, and pieces of 3 to 5 characters within each word, its edges marked."""
    yield from words
    yield from (f"{a} {b}" for a, b in pairwise(words))
    for word in words:
        edged = f"<{word}>"
        for size in _PIECES:
            yield from (f"#{edged[i : i + size]}" for i in range(len(edged) - size + 1))


def hashed(found: Iterable[str]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Buckets and their weights: 1 + log count, scaled to length 1 (of no gram there is none)."""
    counts = Counter(zlib.crc32(gram.encode()) % BUCKETS for gram in found)
    buckets = np.fromiter(counts, dtype=np.int64, count=len(counts))
    weights = 1 + np.log(np.fromiter(counts.values(), dtype=np.float32, count=len(counts)))
    return buckets, (weights / max(float(np.sqrt((weights**2).sum())), 1e-9)).astype(np.float32)
