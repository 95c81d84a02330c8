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

import tyro
from rich.console import Console
from rich.text import Text

from backflip import pipeline
from backflip.config import require
from backflip.demo import task
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

    folder: Path = Path("runs/demo")
    """Everything lies here; the same command goes on where it stopped, and reuses what is done."""
    human: bool = False
    """You rank the answers at the keyboard, in place of the simulated labeller; q pauses, the same command goes on."""
    questions: int | None = None
    """About how many prompts is asked, in each round; none: as many as the scale has, of you 48."""
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
        require(
            not (self.human and self.mistakes),
            "mistakes",
            seen=self.mistakes,
            wanted="0 with --human: you make your own",
        )
        require(
            self.questions is None or self.questions >= 2, "questions", seen=self.questions, wanted="2 or more, or none"
        )


def run(config: Config, *, console: Console | None = None) -> Path:
    """Runs what is not done yet, prints the comparison and returns the path of `summary.json`.

    Raises LabellingPaused where you stop ranking, CheckpointError where the folder is of another configuration.
    """
    console = console or Console()
    start = time.monotonic()
    source = _model(config)
    fetched = time.monotonic() - start
    console.print(f"model: {source.source} (sha256 {source.sha256[:12]})", highlight=False)
    store = config.folder / "feedback.db"
    fill(store, most=most_texts(config.scale))
    loop = _loop(config, source, store)
    result = pipeline.run(loop, announce=_Narrator(console, loop, start))
    path = write_summary(config.folder, loop, result, source, Timed(fetched, time.monotonic() - start))
    show(path, result, console, simulated=not config.human)
    try:
        console.print(f"and a picture of it: {draw(config.folder)}", highlight=False)
    except DependencyError as error:
        console.print(str(error), highlight=False)
    console.print(_next_steps(config, loop), highlight=False, markup=False, soft_wrap=True)
    return path


def _next_steps(config: Config, loop: pipeline.Config) -> str:
    """What is not part of the timed run: a small look at public test sets, and all of it as one page."""
    folder, measured = config.folder, config.folder / "measure"
    models = f"base={loop.model} ppo={folder / f'round-{loop.rounds}' / 'ppo' / 'model'}"
    return (
        "next, a small look at public test sets (some minutes more), and all of it as one page to show:\n"
        f"  backflip measure --folder {measured} --models {models} --limit 50 --samples 5\n"
        f"  backflip report {folder}"
    )


def _model(config: Config) -> ModelSource:
    if config.scale == "tiny" and config.model is None:
        return tiny_model(config.folder / "tiny-model", seed=0)
    return fetch_model(config.model or SMOLLM2)


def _loop(config: Config, source: ModelSource, store: Path) -> pipeline.Config:
    loop = loop_at(config.scale)
    questions = config.questions or (HUMAN_QUESTIONS if config.human else loop.sample.limit)
    earlier = (Policy(f"ppo-{n}", f"ppo-{n}") for n in range(1, config.rounds))  # "ppo" is the last round's
    return replace(
        loop,
        model=str(source.folder),
        store=str(store),
        folder=config.folder,
        rounds=config.rounds,
        labellers="keyboard" if config.human else "simulated",
        seed=config.seed,
        sample=replace(loop.sample, limit=questions),
        ask=replace(loop.ask, mistakes=config.mistakes),
        evaluate=replace(loop.evaluate, policies=(*loop.evaluate.policies, *earlier)),
    )


def fill(path: Path, *, most: int | None = None) -> None:
    """Puts the demo's demonstrations and prompts into a store, of each split at most so many; once is as often."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Store.open(path) as store, store.transaction():
        for split in task.SPLITS:
            store.add_prompts(task.prompts(split)[:most], name=task.SOURCE, split=split)
        store.add_demonstrations(task.demonstrations()[:most], project=task.SOURCE)


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
            shown = sum(1 for _ in store.demonstrations(project=loop.project))
            asked = store.counts(loop.project, purpose=loop.sample.purpose).questions
        you = loop.labellers == "keyboard"
        return {
            "sft": f"SFT on {shown} demonstrations (ours, not labellers')",
            "sample": f"{loop.sample.samples} answers to each prompt",
            "ask": f"{asked} rankings by {'you' if you else 'a simulated judge'}",
            "reward": f"a reward model, from {'your' if you else 'these'} rankings",
            "ppo": f"PPO against the reward model, {loop.ppo.updates} updates",
            "evaluate": "blind comparison on held-out prompts",
        }[stage.name]


def main(words: Sequence[str] | None = None) -> int:
    """`backflip demo`."""
    run(tyro.cli(Config, args=words, prog="backflip demo"))
    return 0
