"""A simple text encoder for benchmarks that need features of real answers in seconds: no model, no torch.

Words (1- and 2-grams) of an answer, hashed and weighed by inverse document frequency, reduced to a few dimensions by a
singular value decomposition of the texts alone (no label is seen); and a dozen plain measures (length, sentences,
repetition, words shared with the prompt, ...). Everything is standardised.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from backflip.evaluation.sources import data_folder
from backflip.feedback import formats
from backflip.feedback.formats import Ranked

__all__ = ["encode", "measures", "ranked_texts"]

_WORD = re.compile(r"[\w']+|[^\w\s]")
_BUCKETS = 1 << 15


def ranked_texts(name: str, kind: str) -> list[Ranked]:
    """The rankings of a data file below BACKFLIP_DATA."""
    return formats.read(data_folder() / name, kind)


def encode(prompts: Sequence[str], texts: Sequence[str], *, components: int = 48) -> np.ndarray:
    """Features of answers, (texts, features), each of mean 0 and deviation 1."""
    plain = np.array([measures(prompt, text) for prompt, text in zip(prompts, texts, strict=True)])
    features = np.concatenate([_latent(texts, components), plain], axis=1)
    spread = features.std(axis=0)
    return (features - features.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)


def measures(prompt: str, text: str) -> list[float]:
    """Plain figures of one answer."""
    words = [word.lower() for word in _WORD.findall(text)]
    asked = {word.lower() for word in _WORD.findall(prompt)}
    count = max(1, len(words))
    shared = sum(word in asked for word in words)
    return [
        math.log1p(len(words)),
        math.log1p(len(text)),
        len(set(words)) / count,
        shared / count,
        math.log1p(shared),
        math.log1p(text.count("\n")),
        math.log1p(sum(text.count(mark) for mark in ".!?")),
        float(text.rstrip().endswith((".", "!", "?"))),
        text.count("?") / count,
        text.count(",") / count,
        sum(word.isdigit() for word in words) / count,
        sum(map(len, words)) / count,
        float(not text.strip()),
    ]


def _latent(texts: Sequence[str], components: int) -> np.ndarray:
    rows = [_counts(text) for text in texts]
    seen = Counter(bucket for row in rows for bucket in row)
    idf = {bucket: math.log(len(texts) / count) for bucket, count in seen.items()}
    values, columns, starts = [], [], [0]
    for row in rows:
        weights = {bucket: (1 + math.log(count)) * idf[bucket] for bucket, count in row.items()}
        norm = math.sqrt(sum(w * w for w in weights.values())) or 1.0
        values += [w / norm for w in weights.values()]
        columns += list(weights)
        starts.append(len(columns))
    table = csr_array((values, columns, starts), shape=(len(texts), _BUCKETS))
    left, size, _ = svds(table, k=components, v0=np.ones(min(table.shape)))
    return np.asarray(left * size)


def _counts(text: str) -> Counter[int]:
    words = [word.lower() for word in _WORD.findall(text)]
    grams = [*words, *(f"{a} {b}" for a, b in pairwise(words))]
    return Counter(zlib.crc32(gram.encode()) % _BUCKETS for gram in grams)
