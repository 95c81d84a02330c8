"""A GIF of what a control run's policy does, played anew from a start that was never trained on.

    python -m backflip.recipes.film runs/hopper

The policy is the one that the run ended with, or its newest checkpoint where it is still under way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tyro
from numpy.typing import NDArray

from backflip.config import from_dict, require
from backflip.control.agents import make_agent
from backflip.control.clips import figure_of
from backflip.control.drawing import draw, gif
from backflip.control.envs import make_envs
from backflip.control.evaluator import evaluate
from backflip.control.flips import FlipCount
from backflip.control.planar import Figure, Scene
from backflip.errors import DataError
from backflip.recipes.command import command
from backflip.recipes.control import POLICY
from backflip.recipes.control import Config as Training
from backflip.runs import atomic_write_bytes, read_run
from backflip.runs.checkpoint import load_latest
from backflip.runs.lineage import RunRecord

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Config", "Result", "main", "run"]

_FOLDERS: Final = (POLICY, "agent", "checkpoints")  # where a run in one process, one in several, one under way has it


@dataclass(frozen=True)
class Config:
    """Draws what a policy does as a GIF."""

    folder: tyro.conf.Positional[Path]
    """The run's folder."""
    out: Path | None = None
    """The GIF; film.gif in the run's folder by default."""
    steps: int = 1000
    """Steps that are shown."""
    every: int = 3
    """Steps from one picture to the next."""
    slow: float = 1.0
    """How many times slower than real time it is shown, as near as a GIF's hundredths of a second allow."""
    width: int = 320
    height: int = 240
    start: int = 0
    """Which of the evaluation's starts."""

    def __post_init__(self) -> None:
        for name in ("steps", "every", "width", "height"):
            require(getattr(self, name) >= 1, name, seen=getattr(self, name), wanted="1 or more")
        require(self.slow > 0, "slow", seen=self.slow, wanted="a number above 0")
        require(self.start >= 0, "start", seen=self.start, wanted="0 or more")


@dataclass(frozen=True)
class Result:
    """Where it is, and what it shows."""

    path: Path
    true_return: float
    flips: FlipCount | None

    def __str__(self) -> str:
        flips = "" if self.flips is None else f", {self.flips.clean_flips:.0f} clean flips per 1000 steps"
        return f"{self.path}: true return {self.true_return:.1f}{flips}"


def run(config: Config) -> Result:
    """Plays and draws; DataError where the folder has no policy or the robot cannot be drawn."""
    record = read_run(config.folder)
    if record is None or record.recipe not in ("control", "control_processes"):
        raise DataError(f"{config.folder} is no run of control; wanted the folder of one (see `backflip runs`)")
    known = {name: value for name, value in record.config.items() if name in Training.__dataclass_fields__}
    training = replace(from_dict(Training, known), folder=config.folder)
    robot = figure_of(training.env.env)
    if robot is None:
        raise DataError(f"{training.env.env} is no planar robot, which alone is drawn here; look at its clips instead")
    envs = make_envs(replace(training.env, count=1))
    envs.close()
    agent = make_agent(envs.space, training.learns, count=1, seed=0)
    agent.restore(_policy(config.folder, record))

    def act(seen: NDArray[Any]) -> NDArray[Any]:
        return agent.act(seen, greedy=training.reward != "random").actions.numpy()

    env = replace(training.env, count=1)
    played = evaluate(act, env, episodes=config.start + 1, horizon=config.steps)
    assert played.poses is not None  # planar robots have them
    path = config.out or config.folder / "film.gif"
    seconds = robot.dt * config.every * config.slow
    atomic_write_bytes(path, gif(_frames(config, robot, played.poses[config.start]), fps=1 / seconds))
    return Result(path, played.true_returns[config.start], played.flips[config.start] if played.flips else None)


def _policy(folder: Path, record: RunRecord) -> dict[str, Any]:
    for name in _FOLDERS:
        if found := load_latest(folder / name, fingerprint=record.fingerprint):
            state: dict[str, Any] = found.state["learner"]["agent"]
            return state
    raise DataError(f"{folder} has no policy yet; wanted a run that has ended, or has come to its first checkpoint")


def _frames(config: Config, robot: Figure, poses: NDArray[np.float64]) -> Iterator[Image]:
    scene = Scene(robot.name, poses)
    for frame in range(0, len(poses), config.every):
        yield draw(scene, frame, width=config.width, height=config.height)


def main() -> None:
    """`python -m backflip.recipes.film`."""
    command(Config, run, description=__doc__, alone=True)


if __name__ == "__main__":
    main()
