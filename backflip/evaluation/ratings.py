"""Several models on one scale, and win rates freed of length.

Ratings are Bradley-Terry's (1952) by maximum likelihood on the Elo scale: 400 points are odds of ten to one. The
length-controlled win rate (Dubois et al., arXiv 2404.04475) is what a logistic model of the verdicts, with a term for
the difference in length, gives at equal lengths.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backflip.errors import DataError
from backflip.evaluation.numbers import Number

__all__ = ["ELO", "Verdicts", "bradley_terry", "length_controlled", "ratings"]

ELO = 400 / math.log(10)  # points a nat of log-odds
_PRIOR = 0.5  # a tie of every two models, in pairs: finite where one of them won all
_RESAMPLES = 500
Wins = NDArray[np.float64]


class Verdicts(NamedTuple):
    """One prompt's comparisons of two models: our share of points (0, 0.5, 1) and our text's length less theirs."""

    points: ArrayLike  # (pairs,)
    longer: ArrayLike  # (pairs,)


def bradley_terry(wins: Wins, *, prior: float = _PRIOR, steps: int = 10_000) -> Wins:
    """(models, models) points of row against column -> (models,) log-strengths of mean 0, by Hunter's MM (2004).

    `prior` points are added each way between every two models.
    """
    count = len(wins)
    points = wins + prior * (1 - np.eye(count))
    games, won = points + points.T, points.sum(axis=1)
    strength = np.ones(count)
    for _ in range(steps):
        fresh = won / (games / (strength[:, None] + strength[None, :])).sum(axis=1)
        fresh /= np.exp(np.log(fresh).mean())
        if np.abs(np.log(fresh / strength)).max() < 1e-10:
            break
        strength = fresh
    return np.asarray(np.log(fresh), dtype=np.float64)


def ratings(
    names: Sequence[str], prompts: Sequence[Mapping[tuple[str, str], float]], *, seed: int = 0
) -> dict[str, Number]:
    """Each prompt: (winner's side, other) -> points in [0, 1] per comparison -> ratings; the first name has 1000.

    The interval draws whole prompts anew; the first one's is of width 0, for the others are measured from it. Raises
    DataError without prompts or two names.
    """
    if len(names) < 2 or not prompts:
        raise DataError(f"{len(names)} models on {len(prompts)} prompts; wanted two or more, on one or more")
    place = {name: i for i, name in enumerate(names)}
    units = np.zeros((len(prompts), len(names), len(names)))
    for unit, prompt in zip(units, prompts, strict=True):
        for (ours, theirs), points in prompt.items():
            unit[place[ours], place[theirs]] += points
            unit[place[theirs], place[ours]] += 1 - points
    draw = np.random.default_rng(seed)
    found = _scaled(units.sum(axis=0))
    drawn = np.array(
        [_scaled(units[draw.integers(len(units), size=len(units))].sum(axis=0)) for _ in range(_RESAMPLES)]
    )
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return {n: Number(float(found[i]), float(low[i]), float(high[i]), len(prompts)) for n, i in place.items()}


def _scaled(wins: Wins) -> Wins:
    strength = bradley_terry(wins)
    return np.asarray(1000 + ELO * (strength - strength[0]), dtype=np.float64)


def length_controlled(prompts: Sequence[Verdicts], *, seed: int = 0) -> Number | None:
    """P(we win) at equal lengths; `n` counts prompts. None where there is no comparison.

    The model is sigmoid(a + b tanh(d / s)) with d the difference in length and s its standard deviation; every prompt
    weighs the same, and b has a light ridge (1 on b^2 in all), so that it stays finite.
    """
    rows = [(np.asarray(v.points, dtype=np.float64), np.asarray(v.longer, dtype=np.float64)) for v in prompts]
    rows = [(points, longer) for points, longer in rows if len(points)]
    if not rows:
        return None
    scale = float(np.concatenate([longer for _, longer in rows]).std()) or 1.0
    units = [(points, np.tanh(longer / scale)) for points, longer in rows]
    draw = np.random.default_rng(seed)
    drawn = [_at_equal([units[i] for i in draw.integers(len(units), size=len(units))]) for _ in range(_RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Number(_at_equal(units), float(low), float(high), len(units))


def _at_equal(units: Sequence[tuple[Wins, Wins]]) -> float:
    """sigmoid(a) of the fitted model, by Newton's method."""
    points = np.concatenate([p for p, _ in units])
    design = np.stack([np.ones(len(points)), np.concatenate([d for _, d in units])], axis=1)
    weights = np.concatenate([np.full(len(p), 1 / len(p)) for p, _ in units])
    ridge = np.diag([1e-3, 1.0])
    beta = np.zeros(2)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-design @ beta))
        slope = design.T @ (weights * (points - chance)) - ridge @ beta
        curve = (design * (weights * chance * (1 - chance))[:, None]).T @ design + ridge
        step = np.linalg.solve(curve, slope)
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            break
    return float(1 / (1 + np.exp(-beta[0])))
