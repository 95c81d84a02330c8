"""`backflip demo`: the whole loop on a small real model, in the time of a coffee, with honest numbers at the end.

The labeller is simulated (or you, with --human), the base model was already instruction-tuned, and what a 135M model
says of the world is not to be trusted. What is shown is that the loop works: the policy comes to write what its
labeller prefers, and by how much.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.text import Text

from backflip import pipeline
from backflip.config import require
from backflip.demo.contents import fill
from backflip.demo.picture import draw
from backflip.demo.settings import HUMAN_QUESTIONS, Scale, loop_at, most_texts
from backflip.demo.summary import Timed, show, write_summary
from backflip.errors import DependencyError
from backflip.evaluation.contest import Policy
from backflip.feedback.store import Store
from backflip.lm.hub import SMOLLM2, ModelSource, fetch_model, tiny_model

__all__ = ["Config", "main", "run"]


@dataclass(frozen=True)
class Config:
    """Explain it to a six-year-old: SFT, rankings, reward model, PPO, and a blind comparison."""

    folder: Path | None = None
    """Everything lies here, and the same command reuses what is done; none: runs/demo, with --people runs/studio."""
    human: bool = False
    """You rank the answers at the keyboard, in place of the simulated labeller; q pauses, the same command goes on."""
    people: bool = False
    """Trains on what was ranked in the studio (`backflip studio`), and waits there until it is enough."""
    enough: int = 24
    """With --people: so many rankings are enough, in each round."""
    store: Path | None = None
    """The feedback store; none: feedback.db in the folder."""
    questions: int | None = None
    """About how many prompts is asked, in each round; none: as many as the scale has, of people 48."""
    mistakes: float = 0.0
    """The share of the simulated labeller's rankings that are turned round."""
    rounds: int = 1
    """How often the loop goes round: sample, rank, reward model, PPO."""
    seed: int = 0
    scale: Scale = "demo"
    """`tiny` runs every stage on a random model in seconds: it shows that all works, and learns nothing."""
    model: str | None = None
    """A hub id or a Transformers folder; none: SmolLM2-135M-Instruct, or a random model where the scale is tiny."""

    def __post_init__(self) -> None:
        require(0 <= self.mistakes < 0.5, "mistakes", seen=self.mistakes, wanted="0 to below 0.5")
        by_people = self.human or self.people
        wanted = "0 with --human or --people: people make their own"
        require(not (by_people and self.mistakes), "mistakes", seen=self.mistakes, wanted=wanted)
        wanted = "one of --human (the keyboard) and --people (the studio)"
        require(not (self.human and self.people), "people", seen=self.people, wanted=wanted)
        require(self.enough >= 2, "enough", seen=self.enough, wanted="2 rankings or more")
        require(
            self.questions is None or self.questions >= 2, "questions", seen=self.questions, wanted="2 or more, or none"
        )

    @property
    def place(self) -> Path:
        """The folder that is used."""
        return self.folder or Path("runs/studio" if self.people else "runs/demo")

    @property
    def shelf(self) -> Path:
        """The store that is used."""
        return self.store or self.place / "feedback.db"

    @property
    def labellers(self) -> Literal["simulated", "keyboard", "people"]:
        """Who ranks."""
        return "people" if self.people else "keyboard" if self.human else "simulated"


def run(config: Config, *, console: Console | None = None) -> Path:
    """Runs what is not done yet, prints the comparison and returns the path of `summary.json`.

    Raises LabellingPaused where you stop ranking, CheckpointError where the folder is of another configuration.
    """
    console = console or Console()
    start = time.monotonic()
    source = _model(config)
    fetched = time.monotonic() - start
    console.print(f"model: {source.source} (sha256 {source.sha256[:12]})", highlight=False)
    fill(config.shelf, most=most_texts(config.scale), ask=config.people)
    loop = _loop(config, source)
    result = pipeline.run(loop, announce=_Narrator(console, loop, start))
    path = write_summary(config.place, loop, result, source, Timed(fetched, time.monotonic() - start))
    show(path, result, console, simulated=config.labellers == "simulated", tiny=config.scale == "tiny")
    try:
        console.print(f"and a picture of it: {draw(config.place)}", highlight=False)
    except DependencyError as error:
        console.print(str(error), highlight=False)
    console.print(_next_steps(config, loop), highlight=False, markup=False, soft_wrap=True)
    return path


def _next_steps(config: Config, loop: pipeline.Config) -> str:
    """What is not part of the timed run: a small look at public test sets, and all of it as one page."""
    folder = config.place
    return "\n".join(
        (
            "next, a small look at public test sets, and all of it as one page to show:",
            f"  backflip measure --folder {folder / 'measure'} --limit 50 --samples 5 \\",
            f"    --models base={loop.model} \\",
            f"    ppo={folder / f'round-{loop.rounds}' / 'ppo' / 'model'}",
            f"  backflip report {folder}",
        )
    )


def _model(config: Config) -> ModelSource:
    if config.scale == "tiny" and config.model is None:
        return tiny_model(config.place / "tiny-model", seed=0)
    return fetch_model(config.model or SMOLLM2)


def _loop(config: Config, source: ModelSource) -> pipeline.Config:
    loop = loop_at(config.scale)
    simulated = config.labellers == "simulated"
    questions = config.questions or (loop.sample.limit if simulated else HUMAN_QUESTIONS)
    earlier = (Policy(f"ppo-{n}", f"ppo-{n}") for n in range(1, config.rounds))  # "ppo" is the last round's
    return replace(
        loop,
        model=str(source.folder),
        store=str(config.shelf),
        folder=config.place,
        rounds=config.rounds,
        given=config.people,
        labellers=config.labellers,
        seed=config.seed,
        sample=replace(loop.sample, limit=questions),
        ask=replace(loop.ask, mistakes=config.mistakes, enough=config.enough if config.people else 0),
        evaluate=replace(loop.evaluate, policies=(*loop.evaluate.policies, *earlier)),
    )


@dataclass(frozen=True)
class _Narrator:
    """Says what begins, in one line a stage, with the time that has passed."""

    console: Console
    loop: pipeline.Config
    start: float

    def __call__(self, stage: pipeline.Stage) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self.start), 60)
        when = "done" if stage.done else f"{minutes}:{seconds:02d}"
        line = Text(f"{stage.number}/{stage.total} {when:>5}  ").append(self._about(stage), "bold")
        self.console.print(line.append(f"  {stage.folder}", "dim"), soft_wrap=True)

    def _about(self, stage: pipeline.Stage) -> str:
        loop = self.loop
        with Store.open(loop.store) as store:
            shown = sum(1 for _ in islice(store.demonstrations(project=loop.project), loop.sft.limit))
            asked = store.counts(loop.project, purpose=loop.sample.purpose).questions
        whose = {"simulated": "a simulated judge", "keyboard": "you", "people": "people in the studio"}
        simulated = loop.labellers == "simulated"
        return {
            "sft": f"SFT on {shown} demonstrations (ours, not labellers')",
            "sample": f"{loop.sample.samples} answers to each prompt",
            "ask": f"{asked} rankings by {whose[loop.labellers]}",
            "reward": f"a reward model, from {'these' if simulated else 'your'} rankings",
            "ppo": f"PPO against the reward model, {loop.ppo.updates} updates",
            "evaluate": "blind comparison on held-out prompts",
        }[stage.name]


def main(words: Sequence[str] | None = None) -> int:
    """`backflip demo`."""
    run(tyro.cli(Config, args=words, prog="backflip demo"))
    return 0
