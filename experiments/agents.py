"""PPO and SAC with relabelling, learning from the same teacher at about equal time: which needs fewer answers?"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from backflip.control.agent import PPOSettings
from backflip.control.asking import AskingSettings
from backflip.control.envs import EnvSettings
from backflip.control.sac import SACSettings
from backflip.control.teachers import TeacherSettings
from backflip.recipes.control import Config
from experiments.cells import Cell, Table

__all__ = ["SEEDS", "contest", "table"]

Algorithm = Literal["ppo", "sac"]

SEEDS: Final = (100, 101, 102)
ANSWERS: Final = (100, 400, 200)
ENVS: Final = ("HalfCheetah-v5", "Hopper-v5")
STEPS: Final[dict[Algorithm, int]] = {"ppo": 384_000, "sac": 192_000}
"""What about a minute of one core holds of each."""
ABOUT: Final = (
    "a teacher that goes by the true reward of clips and makes no mistake; true return of 10 evaluation episodes of "
    "1000 steps from starts never trained on; PPO and SAC have about the same seconds"
)


def contest(folder: Path, *, env: str, algorithm: Algorithm, answers: int, seed: int) -> Config:
    """One run; all but the agent is the same."""
    return Config(
        folder=folder,
        env=EnvSettings(env, count=64, horizon=1000),
        algorithm=algorithm,
        agent=PPOSettings(minibatch=800),
        sac=SACSettings(hidden=64, pretrain=12_800),
        asking=AskingSettings(budget=answers, anneal=4e4),
        teacher=TeacherSettings(goal="reward", mistakes=0.0),
        steps=STEPS[algorithm],
        first_fit=200,
        fit=50,
        episodes=10,
        seed=seed,
    )


def table(folder: Path) -> Table:
    """A seed after the other, so that what has ended is a fair sample at any time."""
    cells = []
    for env in ENVS:
        for seed in SEEDS:
            for answers in ANSWERS:
                for algorithm in STEPS:
                    place = folder / f"{env.partition('-')[0].lower()}-{algorithm}-{answers}-seed-{seed}"
                    config = contest(place, env=env, algorithm=algorithm, answers=answers, seed=seed)
                    cells.append(Cell(place.name, config))
    return Table("agents", cells, ABOUT)
