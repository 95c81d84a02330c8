"""Behaviours that have no reward: answers by a goal's teacher, 10 % of them wrong, measured by the goal's own figures.

Beside each: the teacher's exact score of every step, which no person could give, as the ceiling; and the random policy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from backflip.control.agent import PPOSettings
from backflip.control.asking import AskingSettings
from backflip.control.envs import EnvSettings
from backflip.control.goals import GOALS
from backflip.control.teachers import GoalName, TeacherSettings
from backflip.recipes.control import Config, Reward
from experiments.cells import Cell, Table

__all__ = ["SEEDS", "novel", "table"]

SEEDS = (1, 2, 3)
STEPS: Final = 500_000
ABOUT = (
    "HalfCheetah-v5; 20 evaluation episodes of 1000 steps (50 s) from starts never trained on; one_leg: metres forward "
    "while only the hind foot, or nothing, touches the floor; rear: the share of steps on the hind foot alone with the "
    "nose above 1.2 m. Answers by a simulated teacher, 10 % of them wrong"
)
_GOALS: Final[tuple[GoalName, ...]] = ("one_leg", "rear")
_KINDS: Final[tuple[tuple[str, Reward, int], ...]] = (
    ("answers-800", "answers", 800),
    ("random", "random", 0),
    ("teacher-score", "teacher_score", 0),
)


def novel(folder: Path, *, goal: GoalName, seed: int, reward: Reward = "answers", answers: int = 800) -> Config:
    """A HalfCheetah that learns what the goal's teacher likes."""
    return Config(
        folder=folder,
        env=EnvSettings(GOALS[goal].env, count=64, horizon=1000),
        stages=((0.5, 200), (0.75, 500)),
        stagger=True,
        agent=PPOSettings(steps=50, gamma=0.99, lam=0.95, epochs=10, minibatch=320, learning_rate=3e-4),
        asking=AskingSettings(budget=answers, anneal=2e5),
        teacher=TeacherSettings(goal=goal, mistakes=0.1),
        reward=reward,
        wanted=GOALS[goal].wanted,
        steps=STEPS,
        clip=50,
        fit=30,
        checkpoint_every=20,
        seed=seed,
    )


def table(folder: Path) -> Table:
    """The cells, a seed after the other."""
    cells = []
    for seed in SEEDS:
        for goal in _GOALS:
            for kind, reward, answers in _KINDS:
                place = folder / f"{goal}-{kind}-seed-{seed}"
                config = novel(place, goal=goal, seed=seed, reward=reward, answers=answers)
                work = 1 if reward == "random" else STEPS
                cells.append(Cell(place.name, config, work=work, group=reward))
    return Table("novel", cells, ABOUT)
