"""After the demo: a small look at public test sets, and all of it as one page to show. No part of the timed run."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from backflip import pipeline
from backflip.errors import BackflipError
from backflip.recipes import measure
from backflip.recipes.measure import Measure, Measured
from backflip.report.page import write_report

__all__ = ["MEASURES", "look"]

MEASURES: tuple[Measure, ...] = (
    "truthfulqa",
    "truthfulqa_written",
    "toxicity",
    "hallucination",
    "crows_pairs",
    "winogender",
    "safetybench",
    "published",
)
_SAMPLES = 5  # continuations of a prompt: InstructGPT's 25 are for the full size


def look(loop: pipeline.Config, result: pipeline.Result, *, questions: int, console: Console) -> None:
    """Measures base, SFT and PPO on the first `questions` of each set (0: none) and writes `report.html`.

    What is missing (a package, or a set where there is neither network nor data folder) is said, and the report is
    written without it: the demo itself is done. What was measured is kept, and the same command goes on.
    """
    try:
        path = _report(loop.folder)
    except BackflipError as error:
        console.print(f"there is no report: {error}", highlight=False, markup=False)
        return
    if questions:
        console.print(
            f"now, outside the demo's time, a small look at public test sets: {questions} questions of each\n"
            "(Ctrl-C leaves it out; --test-questions 0 does without)",
            highlight=False,
            markup=False,
        )
        try:
            measure.run(_config(loop, result, questions))
            _report(loop.folder)
        except BackflipError as error:
            console.print(f"the report is without test sets: {error}", highlight=False, markup=False)
    console.print(f"all of it as one page to show: {path}", highlight=False)


def _config(loop: pipeline.Config, result: pipeline.Result, questions: int) -> measure.Config:
    models = (
        Measured("base", loop.model),
        Measured("sft", result.sft.model),
        Measured("ppo", result.rounds[-1].ppo.model),
    )
    return measure.Config(
        folder=loop.folder / "measure",
        models=models,
        measures=MEASURES,
        limit=questions,
        samples=_SAMPLES,
        instructed_samples=_SAMPLES,
        rows=64,
        seed=loop.seed,
    )


def _report(folder: Path) -> Path:
    return write_report(folder, title="Backflip: the demo")
