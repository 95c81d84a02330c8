"""`backflip demo`: the whole loop on a small real model, in the time of a coffee, with honest numbers at the end.

The labeller is simulated (or you, with --human), the base model was already instruction-tuned, and what a 135M model
says of the world is not to be trusted. What is shown is that the loop works: the policy comes to write what its
labeller prefers, and by how much.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console

from backflip import pipeline
from backflip.config import require
from backflip.demo import task
from backflip.demo.settings import loop_at
from backflip.demo.summary import Timed, show, write_summary
from backflip.feedback.store import Store
from backflip.lm.hub import SMOLLM2, ModelSource, fetch_model, tiny_model

__all__ = ["Config", "main", "run"]


@dataclass(frozen=True)
class Config:
    """Explain it to a six-year-old: SFT, rankings, reward model, PPO, and a blind comparison."""

    folder: Path = Path("runs/demo")
    """Everything lies here; the same command goes on where it stopped, and reuses what is done."""
    human: bool = False
    """You rank the answers at the keyboard, in place of the simulated labeller."""
    mistakes: float = 0.0
    """The share of the simulated labeller's rankings that are turned round."""
    rounds: int = 1
    """How often the loop goes round: sample, rank, reward model, PPO."""
    seed: int = 0
    scale: Literal["demo", "tiny"] = "demo"
    """`tiny` runs every stage on a random model in seconds: it shows that all works, and learns nothing."""
    model: str = SMOLLM2
    """A hub id or a Transformers folder."""

    def __post_init__(self) -> None:
        require(0 <= self.mistakes < 0.5, "mistakes", seen=self.mistakes, wanted="0 to below 0.5")


def run(config: Config, *, console: Console | None = None) -> Path:
    """Runs what is not done yet, prints the comparison and returns the path of `summary.json`."""
    console = console or Console()
    start = time.monotonic()
    source = _model(config)
    fetched = time.monotonic() - start
    console.print(f"model: {source.source} (sha256 {source.sha256[:12]})", highlight=False)
    store = config.folder / "feedback.db"
    fill(store)
    loop = replace(
        loop_at(config.scale),
        model=str(source.folder),
        store=str(store),
        folder=config.folder,
        rounds=config.rounds,
        labellers="keyboard" if config.human else "simulated",
        seed=config.seed,
    )
    loop = replace(loop, ask=replace(loop.ask, mistakes=config.mistakes))
    result = pipeline.run(loop)
    path = write_summary(config.folder, loop, result, source, Timed(fetched, time.monotonic() - start))
    show(path, result, console, simulated=not config.human)
    return path


def _model(config: Config) -> ModelSource:
    if config.scale == "tiny":
        return tiny_model(config.folder / "tiny-model", seed=0)
    return fetch_model(config.model)


def fill(path: Path) -> None:
    """Puts the demo's prompts and demonstrations into a store; adding them again changes nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Store.open(path) as store, store.transaction():
        for split in task.SPLITS:
            store.add_prompts(task.prompts(split), name=task.SOURCE, split=split)
        store.add_demonstrations(task.demonstrations(), project=task.SOURCE)


def main(words: Sequence[str] | None = None) -> int:
    """`backflip demo`."""
    run(tyro.cli(Config, args=words, prog="backflip demo"))
    return 0
