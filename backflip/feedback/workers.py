"""How reliable is each labeller? From answers alone, without gold questions.

The model of A. P. Dawid and A. M. Skene (Applied Statistics 28, 1979), with one parameter a labeller: of two candidates
one is truly better, either with chance 1/2, and a labeller says so with their own probability. EM finds both together:
who mostly sides with the reliable is reliable. Ties and "cannot tell" say nothing here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from backflip.feedback.quality.relations import relations
from backflip.records import Answer

__all__ = ["Reliability", "reliabilities", "vote_weights"]


class Reliability(NamedTuple):
    """`right`: the probability that the labeller orders a pair rightly (1/2 is guessing), from so many `pairs`."""

    right: float
    pairs: int


def reliabilities(
    answers: Iterable[Answer], *, prior: tuple[float, float] = (4.0, 2.0), iterations: int = 100
) -> dict[str, Reliability]:
    """Labeller id -> reliability; those without a strict preference are left out.

    `prior` is so many pairs right and wrong before anything was seen: it says that people are mostly right, which
    breaks the tie between a truth and its reverse, and keeps whoever answered little near it.
    """
    pairs: dict[tuple[str, str, str], int] = {}
    people: dict[str, int] = {}
    votes = [
        (
            pairs.setdefault((answer.question, *pair), len(pairs)),
            people.setdefault(answer.labeller.id, len(people)),
            said,
        )
        for answer in answers
        for pair, said in relations(answer).items()
        if said
    ]
    if not votes:
        return {}
    pair, who, said = (np.array(column) for column in zip(*votes, strict=True))
    counts = np.bincount(who, minlength=len(people))
    right = np.full(len(people), prior[0] / sum(prior))
    for _ in range(iterations):
        log_odds = np.log(right / (1 - right))
        first = 1 / (1 + np.exp(-np.bincount(pair, said * log_odds[who])))  # P(the first of the pair is better)
        agreed = np.bincount(who, np.where(said > 0, first[pair], 1 - first[pair]))
        new = (agreed + prior[0]) / (counts + sum(prior))
        moved, right = float(np.abs(new - right).max()), new
        if moved < 1e-8:
            break
    found = {name: Reliability(float(right[i]), int(counts[i])) for name, i in people.items()}
    return dict(sorted(found.items()))


def vote_weights(found: Mapping[str, Reliability]) -> dict[str, float]:
    """What a vote of each labeller weighs in a consensus: log-odds of being right, mean 1; a guesser's is 0."""
    odds = {who: max(0.0, math.log(r.right / (1 - r.right))) for who, r in found.items()}
    mean = math.fsum(odds.values()) / len(odds) if odds else 0.0
    return {who: (value / mean if mean else 1.0) for who, value in odds.items()}
