"""Over-optimisation: what a policy was trained on against what a held-out judge says, over sqrt(KL) (arXiv 2210.10760).

Points come from PPO's own metrics and from best-of-n over samples that are there already. The proxy goes on rising
where the judge turns down: that is where to stop.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from backflip.errors import DataError
from backflip.maths.kl import best_of_n_kl_bound

__all__ = ["Advice", "Point", "advice", "best_of_n", "best_of_n_points", "ppo_points"]


@dataclass(frozen=True)
class Point:
    """`at` is a PPO update or an n; `kl` in nats a text; `proxy` and `judge` are mean scores."""

    at: int
    kl: float
    proxy: float | None
    judge: float | None

    @property
    def distance(self) -> float:
        """sqrt(KL); the estimate of a KL near 0 may be below it."""
        return math.sqrt(max(self.kl, 0.0))


@dataclass(frozen=True)
class Advice:
    """Where to stop: the update of the best verdict; `over` says that the judge turned down and the proxy did not.

    `proxy_gain` and `judge_loss` are from there to the last judged update.
    """

    stop_at: int
    kl: float
    over: bool
    proxy_gain: float
    judge_loss: float

    def __str__(self) -> str:
        there = f"update {self.stop_at} (KL {self.kl:z.1f} nats)"
        if not self.over:
            return f"no sign of over-optimisation: the judge's best is {there}; PPO may go on"
        return (
            f"stop at {there}: since then the reward model's score went {self.proxy_gain:+.2f} "
            f"and the judge's {-self.judge_loss:+.3f}"
        )


def ppo_points(metrics: Sequence[Mapping[str, Any]]) -> list[Point]:
    """Of `metrics.jsonl`: score and KL of each update's episodes; the judge's verdict where there is one.

    An update's episodes were sampled before it, and the judge sees the policy after it: the verdict of update u stands
    with the episodes of update u + 1, or of u where there are no others.
    """
    rows = {int(row["step"]): row for row in metrics}
    points = []
    for step, row in sorted(rows.items()):
        episodes = rows.get(step + 1, row)
        kl, proxy = episodes.get("objective/kl"), episodes.get("objective/score")
        judge = row.get("judge/score")
        if kl is not None:
            points.append(Point(step, float(kl), _number(proxy), _number(judge)))
    return points


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def best_of_n(by: ArrayLike, of: ArrayLike, n: int) -> float:
    """The expected `of` of the sample that is best by `by` among n drawn without replacement from N, over all draws.

    Exact and without resampling: in order of `by`, sample i (from 0) is the best of C(i, n-1) of the C(N, n) draws;
    samples that are equal by `by` share alike. Raises DataError unless 1 <= n <= N.
    """
    proxy, gold = np.asarray(by, dtype=np.float64), np.asarray(of, dtype=np.float64)
    total = len(proxy)
    if not 1 <= n <= total or len(gold) != total:
        raise DataError(
            f"best of {n} of {total} samples with {len(gold)} verdicts; wanted 1 <= n <= samples, as many each"
        )
    order = np.argsort(proxy, kind="stable")
    weights = np.array([math.comb(i, n - 1) for i in range(total)], dtype=np.float64) / math.comb(total, n)
    ranks = np.empty(total)
    ranks[order] = weights
    _, groups = np.unique(proxy, return_inverse=True)
    shared = np.bincount(groups, weights=ranks) / np.bincount(groups)
    return float((shared[groups] * gold).sum())


def best_of_n_points(proxy: Sequence[Sequence[float]], judge: Sequence[Sequence[float]]) -> list[Point]:
    """(prompt, sample) scores of one policy's samples -> the points of n = 1, 2, 4, ... up to all; KL is its bound."""
    most = min(map(len, proxy), default=0)
    sizes = [n for n in (2**k for k in range(20)) if n <= most]
    if most and sizes[-1] != most:
        sizes.append(most)
    return [
        Point(
            n,
            best_of_n_kl_bound(n),
            float(np.mean([best_of_n(row, row, n) for row in proxy])),
            float(np.mean([best_of_n(row, other, n) for row, other in zip(proxy, judge, strict=True)])),
        )
        for n in sizes
    ]


def advice(points: Sequence[Point], *, noise: float = 0.0) -> Advice | None:
    """What PPO should be told; `noise` is how far a verdict may fall by chance. None without two verdicts."""
    judged = [p for p in points if p.judge is not None and p.proxy is not None]
    if len(judged) < 2:
        return None
    best, last = max(judged, key=lambda p: p.judge or -math.inf), judged[-1]
    loss, gain = (best.judge or 0.0) - (last.judge or 0.0), (last.proxy or 0.0) - (best.proxy or 0.0)
    return Advice(best.at, best.kl, over=loss > noise and gain >= 0, proxy_gain=gain, judge_loss=loss)
