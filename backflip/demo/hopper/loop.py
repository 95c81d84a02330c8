"""`backflip control demo`: a one-legged robot learns what somebody wants from comparisons of short clips alone.

The somebody is a simulated teacher with 10 % mistakes, or you, with --human: then the studio opens, and you choose the
better of two clips while the robot learns next door. At the end: a GIF of before and after, and a page of curves.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import tyro
from rich.console import Console

from backflip.config import from_dict, override, require
from backflip.control.agents import make_agent
from backflip.control.evaluator import Evaluation, evaluate
from backflip.demo.hopper.page import write_page
from backflip.demo.hopper.seat import browse, open_seat
from backflip.recipes.command import exit_code
from backflip.recipes.control_processes import Config as Training
from backflip.recipes.control_processes import run as train
from backflip.runs.checkpoint import load_latest
from backflip.runs.files import atomic_write_json
from backflip.runs.lineage import read_run

__all__ = ["Config", "main", "run"]

Goal = Literal["forward", "backflip"]

_WANTED: Final = {
    "forward": "Which clip gets further forward, without falling over?",
    "backflip": "Which clip is nearer to a backflip that lands on its foot?",
}
_SHOWN: Final = 250  # steps of the GIF: two seconds, of which every third is shown
_EPISODES: Final = 8
_PATIENCE: Final = 120.0  # seconds after a person's last answer


@dataclass(frozen=True)
class Config:
    """A Hopper learns from comparisons of clips; a GIF and a page of curves show how far it came."""

    folder: Path = Path("runs/control-demo")
    """Everything lies here; the same command goes on where it stopped."""
    human: bool = False
    """You compare the clips, in the studio, in place of the simulated teacher."""
    goal: Goal = "backflip"
    """What the teacher wants; with --human it is yours to want something else."""
    answers: int = 250
    """Comparisons in all, 8 or more."""
    steps: int = 900_000
    """Environment steps, rounded up to whole rollouts of 12,800."""
    browser: bool = True
    """With --human: open a browser there, and at the end the page of curves."""
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.answers >= 8, "answers", seen=self.answers, wanted="8 or more")
        require(self.steps >= 1, "steps", seen=self.steps, wanted="1 or more")

    def training(self) -> Training:
        """The run that is shown."""
        fields: dict[str, Any] = {
            "folder": str(self.folder / "run"),
            "env": {"env": "Hopper-v5", "count": 64, "horizon": 400},
            "stages": [[0.7, 200]],
            "agent": {"entropy": 0.01, "minibatch": 800},
            "predictor": {"look": "motion"},
            "asking": {"budget": self.answers, "anneal": 3e4},
            "teacher": {"goal": self.goal, "margin": 1.0, "penalty": 0.02, "roll": 0.3},
            "first_fit": 200,
            "fit": 50,
            "labellers": "people" if self.human else "simulated",
            "wanted": _WANTED[self.goal],
            "steps": self.steps,
            "episodes": _EPISODES,
            "evaluation_horizon": 400,
            "look_every": 5.0,
            "seed": self.seed,
        }
        if self.human:  # who looks on wants to see it learn soon and often, and to be waited for
            fields["asking"]["first_share"] = 0.1
            fields |= {"patience": _PATIENCE, "checkpoint_every": 2}
        return from_dict(Training, fields)


def run(config: Config, *, console: Console | None = None, changes: dict[str, Any] | None = None) -> Path:
    """Trains (or goes on), draws, and returns the path of the page. `changes` are of the training's fields."""
    console, start = console or Console(), time.monotonic()
    training = override(config.training(), **(changes or {}))
    who = "you, in the studio" if config.human else "a simulated teacher, one answer in ten wrong"
    told = f"a Hopper learns from {config.answers} comparisons by {who}, over {training.whole_steps:,} steps"
    console.print(f"{told}: {training.wanted}", highlight=False)
    with open_seat(training, console, goal=config.goal, browser=config.browser) if config.human else nullcontext():
        result = train(training)
    console.print(str(result), highlight=False)
    before, after = _played(training, trained=False), _played(training, trained=True)
    figures: dict[str, Any] = {"before": _figures(before), "after": _figures(after), "result": asdict(result)}
    figures |= {"seconds": round(time.monotonic() - start, 1), "goal": config.goal, "human": config.human}
    atomic_write_json(config.folder / "summary.json", figures)
    page = write_page(config.folder, training, before, after, figures, shown=_SHOWN)
    console.print(
        f"before and after: {config.folder / 'hopper.gif'}\nthe curves: {page}", highlight=False, soft_wrap=True
    )
    if config.human and config.browser:
        browse(page.resolve().as_uri())
    return page


def _figures(seen: Evaluation) -> dict[str, float]:
    """Means over the episodes, and the way that was made."""
    assert seen.poses is not None  # a Hopper's are always there
    way = float((seen.poses[:, -1, 0] - seen.poses[:, 0, 0]).mean())
    flips = seen.mean_flips
    true = sum(seen.true_returns) / len(seen.true_returns)
    found = {"metres": round(way, 3), "true_return": round(true, 2)}
    names = ("net_turns", "airborne_turns", "clean_flips", "body_floor_share") if flips else ()
    return found | {name: round(getattr(flips, name), 3) for name in names}


def _played(training: Training, *, trained: bool) -> Evaluation:
    agent = make_agent(training.space(), training.learns, count=training.env.count, seed=training.seed)
    if trained:
        record = read_run(training.folder)
        found = load_latest(training.agents, fingerprint=record.fingerprint) if record else None
        if found:
            agent.restore(found.state["learner"]["agent"])
    return evaluate(
        lambda seen: agent.act(seen, greedy=trained).actions.numpy(),
        training.env,
        episodes=training.episodes,
        horizon=training.evaluation_horizon,
        seed=training.seed,
    )


def main(words: Sequence[str]) -> int:
    """The command; returns its exit code."""

    def work() -> None:
        run(tyro.cli(Config, args=words, prog="backflip control demo", description=__doc__))

    return exit_code(work)
