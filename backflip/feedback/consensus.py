"""One ranking of a question that several people answered, with ties, and how sure it is.

Two methods. Ranked pairs (N. Tideman, Social Choice and Welfare 4, 1987) locks the majorities from the clearest to the
narrowest and skips what would contradict those locked: a candidate that beats each other one is first. Bradley-Terry
gives strengths, and so distances. "Cannot tell" says nothing. Neither prefers a labeller or a candidate by its name:
what the votes leave open is tied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from backflip.errors import ConfigError, DataError
from backflip.feedback.quality.relations import relations
from backflip.feedback.statistics import scipy
from backflip.feedback.strengths import bradley_terry_covariance, bradley_terry_fit
from backflip.records import Answer

__all__ = ["Consensus", "bradley_terry", "consensus", "ranked_pairs"]

Method = Literal["ranked_pairs", "bradley_terry"]
Weights = Mapping[str, float]
Table = NDArray[np.float64]
Ranking = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Consensus:
    """What the labellers of a question hold together.

    `tiers` are like an answer's, best first; `scores` of the candidates order them so. `sure[i]` is the probability
    that what stands in tier i is better than what stands in tier i + 1, the least of all pairs of the two. `answers`
    is how many told something.
    """

    question: str
    tiers: Ranking
    scores: Mapping[str, float]
    sure: tuple[float, ...]
    answers: int


def consensus(
    answers: Iterable[Answer], *, method: Method = "ranked_pairs", weights: Weights | None = None
) -> dict[str, Consensus]:
    """Question -> consensus of its answers; questions of which nobody could tell anything are left out.

    `weights` is what an answer of each labeller counts, 1 if not named (`workers.reliabilities` has a use for it).
    """
    methods: dict[str, Callable[..., Consensus]] = {"ranked_pairs": ranked_pairs, "bradley_terry": bradley_terry}
    if method not in methods:
        raise ConfigError(f"method is {method!r}; wanted one of {', '.join(methods)}")
    questions: dict[str, list[Answer]] = {}
    for answer in answers:
        if not answer.cannot_tell:
            questions.setdefault(answer.question, []).append(answer)
    return {question: methods[method](own, weights=weights) for question, own in questions.items()}


def ranked_pairs(answers: Sequence[Answer], *, weights: Weights | None = None) -> Consensus:
    """Tideman's ranking of one question. A tie is half a vote for each side.

    Majorities of equal margin are looked at together, and those that lie on a circle are skipped together, so that the
    order of names decides nothing. Candidates are then ordered by how many they stand above, less how many stand above
    them; equals are tied. Raises DataError if the answers are of several questions or tell nothing.
    """
    names, votes, told = _votes(answers, weights)
    margins = votes - votes.T
    locked = np.zeros(votes.shape, dtype=bool)
    for margin in sorted({round(float(m), 9) for m in margins[margins > 1e-9]}, reverse=True):
        tried = locked | (np.abs(margins - margin) < 1e-8)
        locked |= tried & ~_reach(tried).T  # an edge lies on a circle if a way leads back
    above = _reach(locked)
    scores = (above.sum(axis=1) - above.sum(axis=0)).astype(float)
    return _consensus(
        answers[0].question, names, scores, lambda i, j: _majority_is_true(votes[i, j], votes[j, i]), told
    )


def bradley_terry(answers: Sequence[Answer], *, weights: Weights | None = None, prior: float = 1.0) -> Consensus:
    """Candidates of one question by Bradley-Terry strength. A tie is half a win for each side.

    A ranking of K counts as K - 1 comparisons (each of its pairs 2/K), for its pairs are not independent. Raises as
    `ranked_pairs`.
    """
    names, votes, told = _votes(answers, weights)
    wins = votes * 2 / len(names)
    strength = bradley_terry_fit(wins, prior=prior)
    spread = bradley_terry_covariance(wins, strength, prior=prior)

    def sure(i: int, j: int) -> float:
        deviation = math.sqrt(spread[i, i] + spread[j, j] - 2 * spread[i, j])
        return 0.5 * math.erfc(-float(strength[i] - strength[j]) / deviation / math.sqrt(2))

    return _consensus(answers[0].question, names, strength, sure, told)


def _votes(answers: Sequence[Answer], weights: Weights | None) -> tuple[list[str], Table, int]:
    """Candidates, votes[i, j] for i over j, and how many answers tell something."""
    said = [(relations(answer), answer) for answer in answers if not answer.cannot_tell]
    questions = {answer.question for answer in answers}
    if not said or len(questions) != 1:
        raise DataError(
            f"{len(said)} answers that tell something, to {len(questions)} questions; a consensus wants one or more "
            "answers to one question"
        )
    names = sorted({name for pairs, _ in said for pair in pairs for name in pair})
    place = {name: index for index, name in enumerate(names)}
    votes = np.zeros((len(names), len(names)))
    for pairs, answer in said:
        weight = 1.0 if weights is None else weights.get(answer.labeller.id, 1.0)
        for (a, b), relation in pairs.items():
            votes[place[a], place[b]] += weight * (1 + relation) / 2
            votes[place[b], place[a]] += weight * (1 - relation) / 2
    return names, votes, len(said)


def _reach(edges: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether any way leads from one to another (Warshall)."""
    reach = edges.copy()
    for via in range(len(reach)):
        reach |= reach[:, via, None] & reach[None, via]
    return reach


def _majority_is_true(votes: float, against: float) -> float:
    """P(more than half of all people would vote so), from an even prior: a Beta distribution's upper half."""
    return float(scipy("special").betaincc(1 + votes, 1 + against, 0.5))


def _consensus(
    question: str, names: list[str], scores: Table, sure: Callable[[int, int], float], told: int
) -> Consensus:
    tiers: list[list[int]] = []
    for index in sorted(range(len(names)), key=lambda i: (-scores[i], names[i])):
        if tiers and scores[tiers[-1][0]] - scores[index] < 1e-7:
            tiers[-1].append(index)
        else:
            tiers.append([index])
    steps = [min(sure(i, j) for i in upper for j in lower) for upper, lower in pairwise(tiers)]
    return Consensus(
        question,
        tuple(tuple(sorted(names[i] for i in tier)) for tier in tiers),
        {name: float(score) for name, score in zip(names, scores, strict=True)},
        tuple(steps),
        told,
    )
