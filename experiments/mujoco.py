"""MuJoCo at the paper's breadth: eight tasks, answers by an oracle against the true reward, the same agent and steps.

As in H: a fixed horizon and no sign of an end (a fall loses the bonus for standing, and no more), the penalty on
torques removed. The oracle goes by the true return of a clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from backflip.control.agent import PPOSettings
from backflip.control.asking import AskingSettings
from backflip.control.envs import EnvSettings
from backflip.control.teachers import TeacherSettings
from backflip.recipes.control import Config, Reward
from experiments.cells import Cell, Row, Table
from experiments.ratios import ratios

__all__ = ["SEEDS", "TASKS", "mujoco", "summary", "table"]

SEEDS = (1, 2, 3)  # 100 and above were tuned on
ABOUT = (
    "fixed horizon, no penalty on torques; 20 evaluation episodes of 1000 steps (Reacher 50) from starts never trained "
    "on, the most likely actions; the oracle compares true returns of clips of 50 steps"
)
_NO_TORQUE: Final = MappingProxyType({"ctrl_cost_weight": 0.0})
_ANT: Final = MappingProxyType({"ctrl_cost_weight": 0.0, "use_contact_force": False})
TASKS: Final[Mapping[str, Mapping[str, float | bool]]] = MappingProxyType(
    {
        "HalfCheetah-v5": _NO_TORQUE,
        "Hopper-v5": _NO_TORQUE,
        "Walker2d-v5": _NO_TORQUE,
        "Swimmer-v5": _NO_TORQUE,
        "Reacher-v5": _NO_TORQUE,
        "InvertedPendulum-v5": MappingProxyType({}),
        "InvertedDoublePendulum-v5": MappingProxyType({}),
        "Ant-v5": _ANT,
    }
)
STEPS: Final = 500_000
LONG: Final = 1000  # steps of an episode at the end of training, and of the evaluation; Reacher's last 50

_KINDS: Final[tuple[tuple[str, Reward, int, float], ...]] = (
    ("random", "random", 0, 0.0),
    ("true", "teacher_score", 0, 0.0),
    ("answers-700", "answers", 700, 0.0),
    ("answers-1400", "answers", 1400, 0.0),
    ("mistakes-700", "answers", 700, 0.1),
)


def mujoco(
    folder: Path, *, task: str, seed: int, reward: Reward = "answers", answers: int = 700, mistakes: float = 0.0
) -> Config:
    """One run; all settings but the environment's own are common to the tasks."""
    horizon = 50 if task.startswith("Reacher") else LONG
    return Config(
        folder=folder,
        env=EnvSettings(task, count=64, horizon=horizon, options=TASKS[task], backend="envpool"),
        stages=() if horizon < LONG else ((0.5, 200), (0.75, 500)),
        stagger=horizon == LONG,
        agent=PPOSettings(steps=50, gamma=0.99, lam=0.95, epochs=10, minibatch=320, learning_rate=3e-4),
        asking=AskingSettings(budget=answers, anneal=2e5),
        teacher=TeacherSettings(goal="reward", mistakes=mistakes),
        reward=reward,
        steps=STEPS,
        clip=50,
        fit=30,
        evaluation_horizon=horizon,
        checkpoint_every=20,
        seed=seed,
    )


def table(folder: Path) -> Table:
    """The cells: a seed's row over all tasks before the next seed, so that what has ended is a fair sample."""
    cells = []
    for seed in SEEDS:
        for kind, reward, answers, mistakes in _KINDS:
            for task in TASKS:
                place = folder / f"{task.removesuffix('-v5')}-{kind}-seed-{seed}"
                config = mujoco(place, task=task, seed=seed, reward=reward, answers=answers, mistakes=mistakes)
                work = 1 if reward == "random" else STEPS
                cells.append(Cell(place.name, config, work=work, group=f"{task} {reward}"))
    return Table("mujoco", cells, ABOUT, summary)


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Kind of answers -> the geometric mean of the ratios to the true reward, and each task's with its interval."""
    return {
        kind: {
            "geometric_mean": round(found.mean, 3),
            "tasks": {env: [round(x, 3) for x in ratio[:3]] for env, ratio in found.tasks.items()},
            "seeds": min(ratio.seeds for ratio in found.tasks.values()),
        }
        for kind, found in ratios(rows).items()
    }
