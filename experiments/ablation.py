"""What matters (H, section 3.3): one thing at a time is taken from the method, or asked about otherwise.

Two tasks, five seeds, the oracle on the true return with 10 % mistakes, equal steps and answers for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from backflip.feedback.intervals import bootstrap_ratio
from backflip.feedback.selection import Method
from backflip.recipes.control import Config
from experiments.cells import Cell, Row, Table, control_row
from experiments.mujoco import mujoco

__all__ = ["SEEDS", "TASKS", "VARIANTS", "ablation", "summary", "table"]

SEEDS = (1, 2, 3, 4, 5)
TASKS = ("HalfCheetah-v5", "Hopper-v5")
STEPS: Final = 400_000
ANSWERS: Final = 700
ABOUT = (
    "fixed horizon, no penalty on torques; 700 answers by the true return of a clip, 10 % of them wrong, 400,000 "
    "steps; 20 evaluation episodes of 1000 steps from starts never trained on"
)


def _asked(method: Method) -> Any:
    return lambda config: replace(config, asking=replace(config.asking, method=method))


def _predictor(**changes: Any) -> Any:
    return lambda config: replace(config, predictor=replace(config.predictor, **changes))


def _alone(config: Config) -> Config:
    """One predictor has nobody to disagree with: its questions are random (H)."""
    return _asked("random")(_predictor(members=1)(config))  # type: ignore[no-any-return]


def _offline(config: Config) -> Config:
    return replace(config, asking=replace(config.asking, first_share=1.0))


VARIANTS: Final[Mapping[str, Any]] = {
    "whole": lambda config: config,  # half of the questions by disagreement, half at random
    "random queries": _asked("random"),
    "disagreement alone": _asked("disagreement"),
    "information": _asked("information"),
    "near ties": _asked("near_tie"),
    "no ensemble": _alone,
    "offline answers only": _offline,
    "clips of 10 steps": lambda config: replace(config, clip=10),
    "clips of 1 step": lambda config: replace(config, clip=1),
    "no regularisation": _predictor(l2=0.0),
    "regression on scores": _predictor(target="scores"),
}


def ablation(folder: Path, *, variant: str, task: str, seed: int) -> Config:
    """One run."""
    base = replace(mujoco(folder, task=task, seed=seed, answers=ANSWERS, mistakes=0.1), steps=STEPS)
    changed: Config = VARIANTS[variant](base)
    return changed


def table(folder: Path) -> Table:
    """The cells: all variants of a seed before the next seed."""
    cells = []
    for seed in SEEDS:
        for task in TASKS:
            for variant in VARIANTS:
                place = folder / f"{task.removesuffix('-v5')}-{variant.replace(' ', '-')}-seed-{seed}"
                config = ablation(place, variant=variant, task=task, seed=seed)
                cells.append(Cell(place.name, config, row=_row(variant), work=STEPS, group=task))
    return Table("ablation", cells, ABOUT, summary)


def _row(variant: str) -> Any:
    return lambda config, record: {"variant": variant, **control_row(config, record)}


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Task -> variant -> [mean return over seeds, and the interval of a bootstrap over seeds], and the seeds."""
    returns: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        returns.setdefault(row["env"], {}).setdefault(row["variant"], []).append(row["true_return"])
    return {
        env: {variant: {"return": _interval(found), "seeds": len(found)} for variant, found in variants.items()}
        for env, variants in returns.items()
    }


def _interval(found: Sequence[float]) -> list[float]:
    return [round(x, 1) for x in bootstrap_ratio(found, [1.0] * len(found))]
