"""The Hopper's backflip: answers against the hand-written reward, the random policy and the teacher's exact score."""

from __future__ import annotations

from pathlib import Path

from backflip.control.agent import PPOSettings
from backflip.control.asking import AskingSettings
from backflip.control.envs import EnvSettings
from backflip.control.predictor import PredictorSettings
from backflip.control.teachers import TeacherSettings
from backflip.recipes.control import Config, Reward
from experiments.cells import Cell, Table

__all__ = ["SEEDS", "hopper_backflip", "table"]

SEEDS = (1, 2, 3, 4, 5)  # 100 and above were tuned on
ABOUT = "Hopper-v5, 20 evaluation episodes of 1000 steps from starts never trained on; turns and flips per 1000 steps"


def hopper_backflip(
    folder: Path, *, seed: int, reward: Reward = "answers", answers: int = 300, steps: int = 1_200_000
) -> Config:
    """A Hopper that learns the backflip, in three minutes of one core.

    Episodes lengthen early: what turns once has still to learn to get up and go on. The teacher is lenient until it has
    seen turns, then strict; what it said when it was lenient is forgotten, a third of all.
    """
    return Config(
        folder=folder,
        env=EnvSettings("Hopper-v5", count=64, horizon=1000),
        stages=((0.2, 200), (0.4, 400)),
        stagger=True,
        agent=PPOSettings(steps=200, minibatch=800, entropy=0.01, anneal=0.35),
        predictor=PredictorSettings(look="motion"),
        asking=AskingSettings(budget=answers, anneal=1e6, until=0.75),
        teacher=TeacherSettings(
            goal="backflip", power=1.5, penalty=0.0, roll=0.2, strict=0.5, strict_above=0.06, margin=0.5, mistakes=0.1
        ),
        reward=reward,
        steps=steps,
        first_fit=200,
        fit=30,
        last_answers=round(answers * 2 / 3),
        contenders=5,
        checkpoint_every=20,
        seed=seed,
    )


_FIRST: list[tuple[str, Reward, int]] = [
    ("answers-300", "answers", 300),
    ("hand-written", "hand_written", 0),
    ("random", "random", 0),
    ("teacher-score", "teacher_score", 0),
]
_THEN: list[tuple[str, Reward, int]] = [("answers-900", "answers", 900), ("answers-100", "answers", 100)]


def table(folder: Path) -> Table:
    """The cells: what decides first, a seed after the other, so that what has ended is a fair sample at any time."""
    cells = []
    for kinds in (_FIRST, _THEN):
        for seed in SEEDS:
            for kind, reward, answers in kinds:
                place = folder / f"{kind}-seed-{seed}"
                cells.append(Cell(place.name, hopper_backflip(place, seed=seed, reward=reward, answers=answers)))
    return Table("backflip", cells, ABOUT)
