"""Questions with features and answers, simulated and real, for benchmarks of what to ask and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from text_features import encode, ranked_texts

from backflip.feedback.pairs import pairs
from backflip.records import Question

__all__ = ["REAL", "SIMULATED", "Item", "Pool", "accuracy", "fit", "real_pool", "simulated_pool"]

REAL: Final = {
    "hh_helpful": ("pref_hh_rlhf/helpful-base_test.jsonl.gz", "hh"),
    "pandalm": ("pref_pandalm/testset-v1.json.gz", "pandalm"),
    "summaries": ("pref_summarize_from_feedback/batch13.jsonl.gz", "openai"),
    "oasst": ("sft_oasst1_en_validation/en-validation.jsonl.gz", "oasst"),
}
SIMULATED: Final = ("clips", "clips_narrow", "rankings")
_DIMENSIONS = 20


@dataclass(frozen=True)
class Item:
    """A question: the candidates' features, (K, d), and each of its answers as pairs (better, worse) of indices."""

    features: np.ndarray
    answers: tuple[tuple[tuple[int, int], ...], ...]

    def differences(self, answer: int) -> np.ndarray:
        """Better less worse, (pairs, d), of one answer."""
        told = self.answers[answer]
        better, worse = [b for b, _ in told], [w for _, w in told]
        return np.asarray(self.features[better] - self.features[worse])


@dataclass(frozen=True)
class Pool:
    """Questions that can be asked, and held-out ones (of other questions) that say how good a model is."""

    asked: tuple[Item, ...]
    held_out: tuple[Item, ...]


def accuracy(items: Sequence[Item], weights: np.ndarray) -> float:
    """Share of all pairs of all answers that linear scores `features @ weights` order rightly; equal is half right."""
    margins = np.concatenate([item.differences(a) @ weights for item in items for a in range(len(item.answers))])
    return float(np.mean(0.5 * (1 + np.sign(margins))))


def fit(differences: np.ndarray, weights: np.ndarray, *, decay: float) -> np.ndarray:
    """Bradley-Terry on features, (d,): the weighted likelihood's maximum less `decay / 2 * |w|^2`, by Newton steps."""
    found = np.zeros(differences.shape[1])
    for _ in range(50):
        wrong = 1 / (1 + np.exp(np.clip(differences @ found, -30, 30)))
        slope = differences.T @ (weights * wrong) - decay * found
        curve = (differences * (weights * wrong * (1 - wrong))[:, None]).T @ differences + decay * np.eye(len(found))
        step = np.linalg.solve(curve, slope)
        found = found + step
        if np.abs(step).max() < 1e-5:
            break
    return found


def real_pool(name: str, *, seed: int, held_out: float = 0.3, cache: dict[str, list[Item]]) -> Pool:
    """A data set, its questions divided by `seed`."""
    if name not in cache:
        cache[name] = _real_items(name)
    items = cache[name]
    order = np.random.default_rng([seed, 1]).permutation(len(items))
    cut = int(len(items) * held_out)
    return Pool(tuple(items[i] for i in order[cut:]), tuple(items[i] for i in order[:cut]))


def simulated_pool(kind: str, *, seed: int, asked: int = 2000, held_out: int = 1000) -> Pool:
    """Candidates of normal features and linear true reward; people choose by Plackett-Luce, held-out pairs are true.

    `clips`: two candidates. `clips_narrow`: 9 of 10 questions to ask vary in 3 of the 20 dimensions only, as the clips
    of one policy do, and the held-out ones are half of each kind. `rankings`: full rankings of four.
    """
    draw = np.random.default_rng([seed, 2])
    truth = draw.normal(size=_DIMENSIONS) / np.sqrt(_DIMENSIONS) * 3
    count = 4 if kind == "rankings" else 2

    def item(*, narrow: float, noise: bool) -> Item:
        features = draw.normal(size=(count, _DIMENSIONS))
        if draw.random() < narrow:
            features[:, 3:] = 0
        seems = features @ truth + (draw.gumbel(size=count) if noise else 0)
        order = np.argsort(-seems)
        return Item(
            features, (tuple((int(order[i]), int(order[j])) for i in range(count) for j in range(i + 1, count)),)
        )

    narrow = (0.9, 0.5) if kind == "clips_narrow" else (0.0, 0.0)
    return Pool(
        tuple(item(narrow=narrow[0], noise=True) for _ in range(asked)),
        tuple(item(narrow=narrow[1], noise=False) for _ in range(held_out)),
    )


def _real_items(name: str) -> list[Item]:
    questions: dict[str, tuple[Question, list[tuple[tuple[int, int], ...]]]] = {}
    for question, answer in ranked_texts(*REAL[name]):
        place = {c.id: index for index, c in enumerate(question.candidates)}
        told = tuple((place[pair.better], place[pair.worse]) for pair in pairs(answer))
        questions.setdefault(question.id, (question, []))[1].append(told)
    texts = [(_asked(q), c.text or "") for q, _ in questions.values() for c in q.candidates]
    features, items, start = encode(*zip(*texts, strict=True), components=16), [], 0
    for question, answers in questions.values():
        end = start + len(question.candidates)
        if any(answers):
            items.append(Item(features[start:end], tuple(answers)))
        start = end
    return items


def _asked(question: Question) -> str:
    if question.prompt is None:
        return ""
    return question.prompt.text if question.prompt.text is not None else question.prompt.messages[-1].content
