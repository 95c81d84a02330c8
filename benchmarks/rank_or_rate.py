"""Rank or rate? A reward model from 1-7 ratings against one from rankings, by raters who each have their own scale.

    python benchmarks/rank_or_rate.py

InstructGPT has labellers rank, because people use a scale of numbers each in their own way. Here raters are simulated:
what a rater feels of a candidate is its true quality plus noise; a ranking is the order of what is felt, a rating is
`4 + offset + mood + points * spread * felt`, cut at six thresholds, where offset, spread and thresholds are the rater's
own and the mood is the question's.
Both are asked about the same questions of K candidates and, unless the condition says otherwise, feel the same noise.
Four reward models, all linear in the same 20 features, each with the ridge that its own validation questions choose:

    rank        K-wise Bradley-Terry on the rankings
    rate        least squares on the ratings as they are
    normalised  least squares on the ratings less their rater's mean, over their rater's deviation
    compared    K-wise Bradley-Terry on the order of a question's ratings (ties dropped), as far as ratings tell it

What counts is the share of held-out pairs, each of one prompt, that are ordered as the true qualities are. Intervals
are over seeds. `questions_to_match` says how many questions another arm needs to get as far as `rank` with the middle
budget: over that budget it is how much longer a ranking may take than K ratings before rating is the better buy.
"""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import tyro
from pools import fit
from selection import interval, labels_needed

from backflip.runs import atomic_write_json
from backflip.runs.version import code_version

__all__ = ["ARMS", "CONDITIONS", "Condition", "Config", "accuracies", "main"]

ARMS: Final = ("rank", "rate", "normalised", "compared")
_DIMENSIONS = 20
_RIDGES = (0.3, 3.0, 30.0, 300.0)


@dataclass(frozen=True)
class Condition:
    """How people differ, and what they are asked. Qualities have deviation 1 over all candidates."""

    offset: float = 1.0
    """Deviation of the raters' offsets, in points."""
    spread: float = 0.4
    """Deviation of the logarithm of the raters' spreads."""
    thresholds: float = 0.3
    """Deviation of each rater's thresholds about 1.5, 2.5, .. 6.5, in points."""
    mood: float = 0.0
    """Deviation of what shifts all ratings of one question together, in points."""
    points: float = 1.5
    """Points of the scale for a deviation of quality."""
    noise: float = 0.7
    """Deviation of what is felt about the true quality."""
    ranking_noise: float = 1.0
    """Noise in a ranking over that in a rating."""
    between: float = 0.3
    """Share of the variance of quality that lies between prompts."""
    candidates: int = 4
    raters: int = 20


CONDITIONS: Final = {
    "own scales": Condition(),
    "own scales, 100 raters": Condition(raters=100),
    "own scales, prompts differ": Condition(between=0.7),
    "own scales, pairs": Condition(candidates=2),
    "own scales, comparing is easier": Condition(ranking_noise=0.5),
    "own scales and moods": Condition(mood=1.5),
    "own scales, few points used": Condition(points=0.5),
    "own scales and moods, 100 raters, few points": Condition(mood=1.0, points=0.7, raters=100),
    "own scales, ranking nine tires": Condition(candidates=9, ranking_noise=1.5),
    "one scale": Condition(offset=0.0, spread=0.0, thresholds=0.0),
    "one scale, prompts differ": Condition(offset=0.0, spread=0.0, thresholds=0.0, between=0.7),
    "one scale, little noise": Condition(offset=0.0, spread=0.0, thresholds=0.0, noise=0.2),
}


@dataclass(frozen=True)
class Config:
    """What is compared, and how often."""

    conditions: tuple[str, ...] = tuple(CONDITIONS)
    seeds: int = 20
    budgets: tuple[int, ...] = (30, 60, 120, 240, 480, 960)
    """Questions, each answered once, by one rater."""
    held_out: int = 500
    out: Path = Path("docs/results/rank_or_rate.json")


class Answers(NamedTuple):
    """All that was asked and said; a smaller budget is the first so many questions."""

    features: np.ndarray  # (questions, K, d)
    felt: np.ndarray  # (questions, K), by which a rater ranks
    ratings: np.ndarray  # (questions, K), 1..7
    rater: np.ndarray  # (questions,)


def main() -> None:
    config, started, cpu = tyro.cli(Config, description=__doc__), time.perf_counter(), time.process_time()
    found = {}
    for name in config.conditions:
        rows = np.array([accuracies(CONDITIONS[name], config, seed=seed) for seed in range(config.seeds)])
        found[name] = {"condition": asdict(CONDITIONS[name]), **summary(rows, config.budgets)}
        middle = {arm: round(found[name]["accuracy"][arm][len(config.budgets) // 2]["value"] or 0, 3) for arm in ARMS}
        print(name, middle, f"{time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    words = ["python", "benchmarks/rank_or_rate.py"]
    for field, value in asdict(config).items():
        if field != "out" and value != getattr(Config(), field):
            words += [f"--{field.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else [value])]
    context = {
        "command": " ".join(words),
        "version": code_version(),
        "machine": {"cores": os.cpu_count(), "architecture": platform.machine()},
        "seeds": config.seeds,
        "held_out": config.held_out,
        "budgets": list(config.budgets),
        "seconds": {"wall": time.perf_counter() - started, "cpu": time.process_time() - cpu},
    }
    atomic_write_json(config.out, {**context, "conditions": found})
    print(f"written to {config.out}")


def accuracies(condition: Condition, config: Config, *, seed: int) -> np.ndarray:
    """Held-out accuracy, (arms, budgets)."""
    draw = np.random.default_rng([seed, 5])
    truth = draw.normal(size=_DIMENSIONS)
    truth /= np.linalg.norm(truth)
    said = _ask(condition, truth, max(config.budgets), draw)
    held_out = _features(condition, config.held_out, draw)
    result = np.zeros((len(ARMS), len(config.budgets)))
    for column, budget in enumerate(config.budgets):
        some = Answers(*(part[:budget] for part in said))
        for row, arm in enumerate(ARMS):
            result[row, column] = _right(held_out, _learn(arm, some), held_out @ truth)
    return result


def _features(condition: Condition, count: int, draw: np.random.Generator) -> np.ndarray:
    prompt = draw.normal(size=(count, 1, _DIMENSIONS))
    own = draw.normal(size=(count, condition.candidates, _DIMENSIONS))
    return np.asarray(math.sqrt(condition.between) * prompt + math.sqrt(1 - condition.between) * own)


def _ask(condition: Condition, truth: np.ndarray, count: int, draw: np.random.Generator) -> Answers:
    features = _features(condition, count, draw)
    quality = features @ truth
    noise = condition.noise * draw.normal(size=quality.shape)
    rater = draw.integers(condition.raters, size=count)
    offset = condition.offset * draw.normal(size=condition.raters)
    spread = np.exp(condition.spread * draw.normal(size=condition.raters))
    steps = np.arange(1.5, 7) + condition.thresholds * draw.normal(size=(condition.raters, 6))
    mood = condition.mood * draw.normal(size=(count, 1))
    points = 4 + offset[rater, None] + mood + condition.points * spread[rater, None] * (quality + noise)
    ratings = 1 + (points[:, :, None] > np.sort(steps, axis=1)[rater, None, :]).sum(axis=2)
    return Answers(features, quality + condition.ranking_noise * noise, ratings.astype(float), rater)


def _learn(arm: str, said: Answers) -> np.ndarray:
    """Weights, (d,); every fifth question chooses the ridge, by what this arm's people said of it."""
    last = np.arange(len(said.rater)) % 5 == 4
    train, validation = (Answers(*(part[chosen] for part in said)) for chosen in (~last, last))
    told = validation.felt if arm == "rank" else validation.ratings

    def agreed(ridge: float) -> float:
        return _right(validation.features, _fit(arm, train, ridge), told)

    return _fit(arm, said, max(_RIDGES, key=agreed))


def _fit(arm: str, said: Answers, ridge: float) -> np.ndarray:
    if arm in ("rate", "normalised"):
        target = said.ratings if arm == "rate" else _normalised(said)
        rows, values = said.features.reshape(-1, _DIMENSIONS), target.reshape(-1)
        rows, values = rows - rows.mean(axis=0), values - values.mean()
        return np.asarray(np.linalg.solve(rows.T @ rows + ridge * np.eye(_DIMENSIONS), rows.T @ values))
    told, count = said.felt if arm == "rank" else said.ratings, said.ratings.shape[1]
    pairs = np.array(list(combinations(range(count), 2)))
    sign = np.sign(told[:, pairs[:, 0]] - told[:, pairs[:, 1]])
    rows = (said.features[:, pairs[:, 0]] - said.features[:, pairs[:, 1]]) * sign[:, :, None]
    rows = rows[sign != 0]
    return fit(rows, np.full(len(rows), 1 / comb(count, 2)), decay=ridge / 10)


def _normalised(said: Answers) -> np.ndarray:
    """A rater whose ratings are all alike tells nothing: 0."""
    result = np.zeros_like(said.ratings)
    for rater in np.unique(said.rater):
        own = said.ratings[said.rater == rater]
        result[said.rater == rater] = (own - own.mean()) / (own.std() or 1.0)
    return result


def _right(features: np.ndarray, weights: np.ndarray, told: np.ndarray) -> float:
    """Share of strict pairs of a question that the scores order as told; equal scores are half right."""
    scores = features @ weights
    pairs = np.array(list(combinations(range(told.shape[1]), 2)))
    wanted = np.sign(told[:, pairs[:, 0]] - told[:, pairs[:, 1]])
    got = np.sign(scores[:, pairs[:, 0]] - scores[:, pairs[:, 1]])
    strict = wanted != 0
    return float(np.mean(0.5 * (1 + (wanted * got)[strict]))) if strict.any() else 0.5


def summary(rows: np.ndarray, budgets: tuple[int, ...], *, seed: int = 0) -> dict[str, Any]:
    """Of (seeds, arms, budgets): accuracies, `rank` less each other arm, and questions to match, with intervals."""
    draw = np.random.default_rng(seed)
    drawn = [draw.integers(len(rows), size=len(rows)) for _ in range(1000)]
    middle, labels = len(budgets) // 2, list(budgets)

    def over_seeds(values: np.ndarray) -> dict[str, float | None]:  # (seeds,)
        return interval(float(values.mean()), [float(values[d].mean()) for d in drawn])

    def match(arm: int, chosen: np.ndarray) -> float:
        mean = rows[chosen].mean(axis=0)
        return labels_needed(labels, mean[arm], float(mean[0, middle]))

    every = np.arange(len(rows))
    columns = range(len(budgets))
    return {
        "accuracy": {arm: [over_seeds(rows[:, i, b]) for b in columns] for i, arm in enumerate(ARMS)},
        "rank_less": {
            arm: [over_seeds(rows[:, 0, b] - rows[:, i, b]) for b in columns] for i, arm in enumerate(ARMS) if i
        },
        "questions_to_match": {
            "rank": budgets[middle],
            **{arm: interval(match(i, every), [match(i, d) for d in drawn]) for i, arm in enumerate(ARMS) if i},
        },
    }


if __name__ == "__main__":
    main()
