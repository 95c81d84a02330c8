"""How many labels does each way of choosing questions need? Simulated and real rankings, an ensemble of linear heads.

    BACKFLIP_DATA=data python benchmarks/selection.py

For each data set and seed: `start` random labels, then `batch` more at a time, chosen by each method of
backflip.feedback.selection from the scores of the ensemble of the moment. A member is a Bradley-Terry model, linear in
the candidates' features (texts: benchmarks/text_features.py), fitted to answers drawn with replacement. What counts is
the accuracy of the members' mean on held-out pairs. A target is what random choice reaches on average with so many
labels; a method's figure is where its mean curve over seeds, made monotone, gets there. Intervals draw seeds with
replacement, the same for all methods. Real questions have the answers that people gave; where several annotators
answered, one of them, drawn by the seed, is asked, and a tie costs a label and tells nothing.
"""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from pools import REAL, SIMULATED, Item, Pool, accuracy, fit, real_pool, simulated_pool
from scipy.optimize import isotonic_regression

from backflip.feedback.selection import Method, choose, priorities
from backflip.runs import atomic_write_json
from backflip.runs.version import code_version

__all__ = ["Config", "interval", "labels_needed", "learn", "main", "summary"]


@dataclass(frozen=True)
class Config:
    """What is compared, and on what."""

    data: tuple[str, ...] = (*SIMULATED, *REAL)
    methods: tuple[Method, ...] = ("random", "disagreement", "information", "near_tie", "mix")
    seeds: int = 20
    start: int = 20
    batch: int = 20
    budget: int = 600
    """Labels at most; or three quarters of the questions, if these are fewer."""
    members: int = 5
    decay: float = 3.0
    targets: tuple[int, ...] = (100, 200, 400)
    """A target is the accuracy that random choice reaches with so many labels."""
    out: Path = Path("docs/results/selection.json")


def main() -> None:
    config, started, cpu = tyro.cli(Config, description=__doc__), time.perf_counter(), time.process_time()
    cache: dict[str, list[Item]] = {}
    data: dict[str, Any] = {}
    for name in config.data:
        curves: dict[str, list[list[float]]] = {method: [] for method in config.methods}
        for seed in range(config.seeds):
            simulated = name in SIMULATED
            pool = simulated_pool(name, seed=seed) if simulated else real_pool(name, seed=seed, cache=cache)
            for method in config.methods:
                curves[method].append(learn(pool, method, config, seed=seed))
        labels = [config.start + config.batch * i for i in range(len(curves[config.methods[0]][0]))]
        data[name] = {
            "kind": "simulated" if name in SIMULATED else "real",
            "questions": len(pool.asked),
            "held_out": len(pool.held_out),
            **summary(labels, {method: np.array(rows) for method, rows in curves.items()}, config.targets),
        }
        print(name, _line(data[name]), f"{time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    seconds = {"wall": time.perf_counter() - started, "cpu": time.process_time() - cpu}
    atomic_write_json(config.out, {**_context(config), "seconds": seconds, "data": data})
    print(f"written to {config.out}")


def learn(pool: Pool, method: Method, config: Config, *, seed: int) -> list[float]:
    """Held-out accuracy after `start`, `start + batch`, ... labels."""
    draw = np.random.default_rng([seed, 3])  # the same first questions and annotators for each method
    answers = [int(draw.integers(len(item.answers))) for item in pool.asked]
    waiting = draw.permutation(len(pool.asked)).tolist()
    asked, waiting = waiting[: config.start], waiting[config.start :]
    most, reached = min(config.budget, len(pool.asked) * 3 // 4), []
    while True:
        members = _ensemble([(pool.asked[q], answers[q]) for q in asked], config, seed=seed)
        reached.append(accuracy(pool.held_out, members.mean(axis=0)))
        if len(asked) + config.batch > most:
            return reached
        scores = [(pool.asked[q].features @ members.T).T for q in waiting]
        chosen = choose(priorities(scores, method, seed=seed * 1000 + len(asked)), config.batch)
        asked += [waiting[i] for i in chosen]
        waiting = [q for i, q in enumerate(waiting) if i not in set(chosen.tolist())]


def _ensemble(answered: list[tuple[Item, int]], config: Config, *, seed: int) -> np.ndarray:
    """Weights of the members, (members, d), each fitted to questions drawn with replacement."""
    rows = [item.differences(answer) for item, answer in answered]
    share = np.concatenate(
        [np.full(len(r), 1 / comb(len(i.features), 2)) for r, (i, _) in zip(rows, answered, strict=True)]
    )
    question = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    differences, draw = np.concatenate(rows), np.random.default_rng([seed, 4])
    members = []
    for _ in range(config.members):
        times = np.bincount(draw.integers(len(rows), size=len(rows)), minlength=len(rows))
        members.append(fit(differences, share * times[question], decay=config.decay))
    return np.array(members)


def labels_needed(labels: list[int], curve: np.ndarray, target: float) -> float:
    """Where the curve, made monotone by least squares and drawn straight between its points, reaches the target."""
    rising = isotonic_regression(curve).x
    if rising[-1] < target:
        return math.inf
    place = int(np.argmax(rising >= target))
    if place == 0:
        return float(labels[0])
    share = (target - rising[place - 1]) / (rising[place] - rising[place - 1])
    return labels[place - 1] + float(share) * (labels[place] - labels[place - 1])


def summary(
    labels: list[int], curves: dict[str, np.ndarray], targets: tuple[int, ...], *, seed: int = 0
) -> dict[str, Any]:
    """Curves, labels to each target, and the mean gain over random, with 95 % intervals over seeds."""
    draw, count = np.random.default_rng(seed), len(next(iter(curves.values())))
    drawn = [draw.integers(count, size=count) for _ in range(1000)]
    base = curves["random"]
    found: dict[str, Any] = {"labels": labels, "methods": {}, "targets": []}
    for method, rows in curves.items():
        gain = (rows - base).mean(axis=1)
        found["methods"][method] = {
            "accuracy": rows.mean(axis=0).round(4).tolist(),
            "gain_over_random": interval(float(gain.mean()), [float(gain[d].mean()) for d in drawn]),
        }
    for wanted in (t for t in targets if t in labels):
        target = float(isotonic_regression(base.mean(axis=0)).x[labels.index(wanted)])
        needed = {}
        for method, rows in curves.items():
            values = [labels_needed(labels, rows[d].mean(axis=0), target) for d in drawn]
            needed[method] = interval(labels_needed(labels, rows.mean(axis=0), target), values)
        found["targets"].append({"random_labels": wanted, "accuracy": target, "labels": needed})
    return found


def interval(value: float, drawn: list[float]) -> dict[str, float | None]:
    """None is "not reached within the budget"."""
    ordered = sorted(drawn)
    low, high = ordered[int(0.025 * len(ordered))], ordered[int(0.975 * len(ordered)) - 1]
    return {k: round(v, 4) if math.isfinite(v) else None for k, v in {"value": value, "low": low, "high": high}.items()}


def _line(found: dict[str, Any]) -> str:
    return "; ".join(
        f"{t['random_labels']} ({t['accuracy']:.3f}): "
        + ", ".join(f"{m} {n['value'] or math.inf:.0f}" for m, n in t["labels"].items())
        for t in found["targets"]
    )


def _context(config: Config) -> dict[str, Any]:
    defaults, words = Config(), ["python", "benchmarks/selection.py"]
    for name, value in asdict(config).items():
        if name != "out" and value != getattr(defaults, name):
            words += [f"--{name}", *map(str, value if isinstance(value, tuple) else [value])]
    return {
        "command": " ".join(words),
        "version": code_version(),
        "machine": {"cores": os.cpu_count(), "architecture": platform.machine()},
        "settings": {k: v for k, v in asdict(config).items() if k != "out"},
        "model": "linear Bradley-Terry heads, each fitted to answers drawn with replacement, on a simple text encoder",
    }


if __name__ == "__main__":
    main()
