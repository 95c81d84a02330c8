"""Atari on a stated budget: Pong by an oracle's answers against the true score, and Enduro level with other cars.

All seven games of the paper have a cell of one minute, to see that they run; two have cells that are long enough to
show something. On one core a convolutional agent makes some hundred steps a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from backflip.control.agent import PPOSettings
from backflip.control.asking import AskingSettings
from backflip.control.envs import EnvSettings
from backflip.control.goals import GOALS
from backflip.control.predictor import PredictorSettings
from backflip.control.teachers import GoalName, TeacherSettings
from backflip.recipes.control import Config, Reward
from experiments.cells import Cell, Table

__all__ = ["GAMES", "atari", "table"]

GAMES = ("BeamRider", "Breakout", "Enduro", "Pong", "Qbert", "Seaquest", "SpaceInvaders")
LONG: Final = 1_000_000  # agent steps (4 million frames): the budget of Pong and Enduro; H's is 50 million frames
SHORT: Final = 10_000  # about a minute
ABOUT = (
    "16 games side by side, score blanked, no sign of a lost life; true_return is the score of 2000 agent steps of "
    "four frames (Pong: two to three games), 4 such episodes; kind smoke: a minute, to see that it runs, no more"
)
_PONG: Final[tuple[tuple[str, Reward, int], ...]] = (
    ("true", "teacher_score", 0),
    ("answers-3300", "answers", 3300),
    ("random", "random", 0),
)


def atari(
    folder: Path,
    *,
    game: str,
    seed: int,
    steps: int = LONG,
    goal: GoalName = "reward",
    reward: Reward = "answers",
    answers: int = 3300,
) -> Config:
    """One run."""
    known = GOALS.get(goal)
    return Config(
        folder=folder,
        env=EnvSettings(f"ALE/{game}-v5", count=16, horizon=2000),
        agent=PPOSettings(steps=100, entropy=0.01, epochs=3, minibatch=400, learning_rate=2.5e-4, log_std=0.0),
        predictor=PredictorSettings(std=0.05, minibatch=16, learning_rate=3e-4),
        asking=AskingSettings(budget=answers, anneal=5e5, factor=3),
        teacher=TeacherSettings(goal=goal, mistakes=0.0 if goal == "reward" else 0.1),
        reward=reward,
        wanted=known.wanted if known else "Which clip goes better?",
        steps=steps,
        clip=25,
        first_fit=200 if steps == LONG else 10,
        fit=10,
        last_answers=3000,
        episodes=4,
        evaluation_horizon=2000 if steps == LONG else 100,
        checkpoint_every=20,
        seed=seed,
    )


def table(folder: Path) -> Table:
    """A minute of each game first; then Pong, and Enduro."""
    cells = []
    for game in GAMES:
        place = folder / f"{game}-smoke"
        config = atari(place, game=game, seed=1, steps=SHORT, answers=60)
        cells.append(Cell(place.name, config, work=SHORT, group="smoke"))
    for seed in (1, 2, 3):
        for kind, reward, answers in _PONG:
            place = folder / f"Pong-{kind}-seed-{seed}"
            config = atari(place, game="Pong", seed=seed, reward=reward, answers=answers)
            cells.append(Cell(place.name, config, work=1 if reward == "random" else LONG, group=reward))
    for kind, reward, answers in (("level-1300", "answers", 1300), ("level-random", "random", 0)):
        place = folder / f"Enduro-{kind}-seed-1"
        config = atari(place, game="Enduro", seed=1, goal="level", reward=reward, answers=answers)  # type: ignore[arg-type]
        cells.append(Cell(place.name, config, work=1 if reward == "random" else LONG, group=reward))
    return Table("atari", cells, ABOUT)
