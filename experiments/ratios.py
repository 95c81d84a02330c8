"""How near answers come to the true reward: ratios of returns shifted by the random policy's, and their geometric mean.

A task's ratio is (answers - random) / (true - random), of means over seeds: 1 is as good as the true reward. Its
interval resamples the seeds of each, which with three seeds is crude: it says what the spread is like, no more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

__all__ = ["LEAST", "Ratio", "Ratios", "kind_of", "ratios"]

LEAST: Final = 0.01  # what a task counts for at least, in the geometric mean: a ratio of 0 or below has no logarithm
_RESAMPLES: Final = 2000


class Ratio(NamedTuple):
    """One task's. `seeds` is the fewest that any of the three returns is the mean of."""

    value: float
    low: float
    high: float
    seeds: int


class Ratios(NamedTuple):
    """Of one kind of answers: each task's ratio, and their geometric mean; tasks that lack a run are left out."""

    tasks: dict[str, Ratio]
    mean: float


def kind_of(row: dict[str, Any]) -> str:
    """true, random, or how many answers and how wrong: "answers 700, 10 % wrong"."""
    if row["reward"] != "answers":
        return str(row["reward"])
    wrong = f", {row['mistakes']:.0%} wrong".replace("%", " %") if row["mistakes"] else ""
    return f"answers {row['answers']}{wrong}"


def ratios(rows: Iterable[dict[str, Any]]) -> dict[str, Ratios]:
    """Kind of answers -> its ratios, from rows of env, reward, answers, mistakes and true_return."""
    returns: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        returns.setdefault(kind_of(row), {}).setdefault(row["env"], []).append(row["true_return"])
    true, random = returns.get("true", {}), returns.get("random", {})
    found = {}
    for kind, tasks in returns.items():
        both = [env for env in tasks if env in true and env in random]
        if kind not in ("true", "random") and both:
            each = {env: _ratio(tasks[env], true[env], random[env]) for env in both}
            found[kind] = Ratios(each, _geometric_mean([ratio.value for ratio in each.values()]))
    return found


def _ratio(answers: Sequence[float], true: Sequence[float], random: Sequence[float]) -> Ratio:
    draw = np.random.default_rng(0)
    resampled = [
        draw.choice(np.array(seen), size=(_RESAMPLES, len(seen))).mean(axis=1) for seen in (answers, true, random)
    ]
    drawn = _shifted(*resampled)
    low, high = np.quantile(drawn[np.isfinite(drawn)], [0.025, 0.975]) if np.isfinite(drawn).any() else (math.nan,) * 2
    value = float(_shifted(*(np.array(np.mean(seen)) for seen in (answers, true, random))))
    return Ratio(value, float(low), float(high), min(len(answers), len(true), len(random)))


def _shifted(answers: Any, true: Any, random: Any) -> Any:
    """NaN where the true reward taught nothing: there is nothing to come near to."""
    gain = true - random
    return np.where(gain > 0, (answers - random) / np.where(gain > 0, gain, 1.0), math.nan)


def _geometric_mean(values: Sequence[float]) -> float:
    known = [max(value, LEAST) for value in values if not math.isnan(value)]
    return math.exp(sum(math.log(value) for value in known) / len(known)) if known else math.nan
