"""What the demo puts into a store: prompts, demonstrations, and questions that were sampled beforehand. No torch.

The questions are real: texts that the demo's SFT model wrote, drawn once by `python -m backflip.demo.sampling`, so that
whoever opens the studio on a fresh clone has something to rank before any model is fetched or trained.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from backflip.demo import task
from backflip.errors import DataError
from backflip.feedback.projects import Project, Projects
from backflip.feedback.store import Store
from backflip.records import MIN_CANDIDATES, Candidate, Prompt, Question

__all__ = ["QUESTIONS", "fill", "fill_store", "made", "questions"]

QUESTIONS = "questions.jsonl"
ORIGIN = "sft"  # as the run that sampled is called
TITLE = "Explain it to a six-year-old"
INSTRUCTIONS = """\
Four answers to one request, as a small model wrote them. Put the best first.

Which of them would you rather read to a child of six?

* It is **about what was asked**, and as far as you know it is true.
* Its words are plain, and a child knows them.
* It is a few whole sentences, and it ends by itself.

Most are poor: rank by what is less bad, and tie what is equally bad. "Cannot tell" is an answer too.
"""


def fill(path: Path, *, most: int | None = None, ask: bool = False) -> None:
    """`fill_store` of the store at `path`, which is made if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Store.open(path) as store:
        fill_store(store, most=most, ask=ask)


def fill_store(store: Store, *, most: int | None = None, ask: bool = True) -> None:
    """Puts in the demonstrations and prompts, of each split at most `most`, and with `ask` the questions.

    Once is as often: nothing stands twice.
    """
    with store.transaction():
        if ask and Projects(store).find(task.SOURCE) is None:
            Projects(store).save(Project(task.SOURCE, title=TITLE, instructions=INSTRUCTIONS))
        for split in task.SPLITS:
            store.add_prompts(task.prompts(split)[:most], name=task.SOURCE, split=split)
        store.add_demonstrations(task.demonstrations()[:most], project=task.SOURCE)
        if ask:
            store.add_questions(questions()[:most], project=task.SOURCE)


@cache
def questions() -> tuple[Question, ...]:
    """One a prompt, in the order of the prompts."""
    return tuple(_question(row) for row in _rows() if "prompt" in row)


def made() -> Mapping[str, Any]:
    """How the questions were made: command, model and its sha256, code, seed."""
    found: Mapping[str, Any] = next(_rows())["made"]
    return found


def _question(row: Mapping[str, Any]) -> Question:
    candidates = tuple(Candidate(text=a["text"], origin=ORIGIN, ended=a["ended"]) for a in row["answers"])
    if len(candidates) < MIN_CANDIDATES:
        raise DataError(
            f"{QUESTIONS}: {row['prompt']!r} has {len(candidates)} answers; wanted {MIN_CANDIDATES} or more"
        )
    return Question("text", candidates, Prompt.ask(row["prompt"], source=task.SOURCE))


def _rows() -> Iterator[dict[str, Any]]:
    text = files("backflip.demo").joinpath(QUESTIONS).read_text(encoding="utf-8")
    yield from map(json.loads, text.split("\n")[:-1])
