"""A simulated labeller: it sees scores, never texts or clips, and errs as people do. Always recorded as simulated.

Four faults, each off at 0: choice noise (Bradley-Terry for two, Plackett-Luce for more), ties, "cannot tell", and
plain mistakes; the faults are those of B-Pref's simulated teachers (arXiv 2111.03026, section 4.1).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from backflip.errors import ConfigError, DataError
from backflip.records import Answer, Labeller, Question, content_id

__all__ = ["SimulatedLabeller"]


@dataclass(frozen=True)
class SimulatedLabeller:
    """Answers questions from scores; the same seed and question give the same answer, in any order, on any machine.

    Attributes:
        seed: of all random choices, together with the labeller's name and the question's id.
        name: the labeller's id in the store.
        temperature: choice noise. For two, P(better is chosen) = sigmoid(difference / temperature); for more,
            Plackett-Luce, drawn as score + temperature * Gumbel noise. At 0 the choice follows the scores.
        tie_margin: candidates that seem (noise included) no further apart than this from the best of their tier are
            tied. With noise, two candidates follow Rao and Kupper's model: P(a > b) = sigmoid((a - b - margin) /
            temperature). At 0 only equal scores tie.
        mistakes: the chance that the whole answer is turned round, so that each of its pairs is wrong.
        cannot_tell_below: no answer if even the best score is below this (B-Pref's "skip"); None always answers.
        groups: the labeller's groups.
    """

    seed: int
    name: str = "simulated"
    temperature: float = 0.0
    tie_margin: float = 0.0
    mistakes: float = 0.0
    cannot_tell_below: float | None = None
    groups: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.mistakes <= 1:
            raise ConfigError(f"mistakes is {self.mistakes}; wanted a share from 0 to 1")
        if not 0 <= self.temperature < math.inf:
            raise ConfigError(f"temperature is {self.temperature}; wanted 0 or more, and finite")
        if not 0 <= self.tie_margin < math.inf:
            raise ConfigError(f"tie_margin is {self.tie_margin}; wanted 0 or more, and finite")

    @property
    def labeller(self) -> Labeller:
        """This labeller's record, of kind "simulated"."""
        return Labeller(self.name, "simulated", self.groups)

    def answer(self, question: Question, scores: Mapping[str, float]) -> Answer:
        """Ranks the question's candidates by their scores (by candidate id), in a random shown order.

        Raises:
            DataError: a candidate has no score, or one that is not finite.
        """
        known = _scores(question, scores)
        draw = random.Random(int(content_id("simulated", self.seed, self.name, question.id), 16))
        shown = tuple(sorted(known, key=lambda _: draw.random()))
        seems = {candidate: score + self.temperature * _gumbel(draw) for candidate, score in known.items()}
        tiers = _tiers(seems, margin=self.tie_margin)
        if draw.random() < self.mistakes:
            tiers = tiers[::-1]
        if self.cannot_tell_below is not None and max(known.values()) < self.cannot_tell_below:
            tiers = ()
        return Answer(question=question.id, labeller=self.labeller, tiers=tiers, shown=shown, source="simulated")


def _scores(question: Question, scores: Mapping[str, float]) -> dict[str, float]:
    ids = [candidate.id for candidate in question.candidates]
    for candidate in ids:
        if not math.isfinite(scores.get(candidate, math.nan)):
            raise DataError(
                f"the score of candidate {candidate[:12]} of question {question.id[:12]} is {scores.get(candidate)}; "
                "give each candidate of the question a finite score"
            )
    return {candidate: scores[candidate] for candidate in ids}


def _gumbel(draw: random.Random) -> float:
    # The difference of two standard Gumbel draws is logistic, which makes the choice of two Bradley-Terry's.
    return -math.log(-math.log(max(draw.random(), 1e-300)))


def _tiers(seems: Mapping[str, float], *, margin: float) -> tuple[tuple[str, ...], ...]:
    tiers: list[list[str]] = []
    for candidate in _from_best(seems):
        if tiers and seems[tiers[-1][0]] - seems[candidate] <= margin:
            tiers[-1].append(candidate)
        else:
            tiers.append([candidate])
    return tuple(tuple(sorted(tier)) for tier in tiers)


def _from_best(seems: Mapping[str, float]) -> Iterable[str]:
    return sorted(seems, key=lambda candidate: (-seems[candidate], candidate))
