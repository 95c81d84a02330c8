"""The demo's task: explain something to a six-year-old in a few sentences (the task that InstructGPT is known by).

Demonstrations and prompts ship with the package. We wrote the demonstrations ourselves: their author is of kind
`maker`, never a labeller. No topic stands twice, neither among demonstrations and prompts nor across the splits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Literal, TypeVar, get_args

from backflip.errors import DataError
from backflip.lm.judge import Judgement, SimulatedJudge
from backflip.records import Demonstration, Labeller, Message, Prompt

__all__ = [
    "BEST_EXAMPLES",
    "MAKERS",
    "PHRASINGS",
    "SOURCE",
    "SPLITS",
    "Split",
    "best_prompted",
    "demonstrations",
    "judge",
    "judge_parts",
    "prompts",
    "topic_of",
]

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
T = TypeVar("T")

SOURCE = "backflip-demo"
MAKERS = Labeller(id="backflip-makers", kind="maker")

# The first two take a thing or a question, the next three a thing, the last three a question (why, how, what).
PHRASINGS = (
    "Explain {} to a six-year-old in a few sentences.",
    "In a few simple sentences, explain {} to a six-year-old.",
    "How would you explain {} to a six-year-old?",
    "Tell a six-year-old about {} in a few sentences.",
    "A six-year-old asks you about {}. What do you say?",
    "Can you tell a six-year-old {}?",
    "Tell a six-year-old {} in a few sentences.",
    "A six-year-old wants to know {}. What do you say?",
)

# The best prompt that we found, chosen on validation prompts (judge's mean at T = 1, 32 prompts, standard error 0.04):
# two demonstrations as earlier turns 0.73, with an instruction before them 0.71, four demonstrations 0.70; instructions
# alone, as system message or with the question, 0.46 to 0.50, which is no better than the bare question (0.51).
BEST_EXAMPLES = ("worms", "bruises")


@cache
def demonstrations() -> tuple[Demonstration, ...]:
    """All demonstrations, in a fixed order with the topics mixed, so that any first n are a fair sample."""

    def read(row: Mapping[str, str]) -> Demonstration:
        prompt = Prompt.ask(row["prompt"], source=SOURCE)
        return Demonstration(prompt=prompt, answer=row["answer"], author=MAKERS, source=SOURCE)

    return tuple(_rows("demonstrations.jsonl", read))


def prompts(split: Split) -> tuple[Prompt, ...]:
    """The prompts of one split, in a fixed order. Raises DataError for another name."""
    if split not in get_args(Split):
        raise DataError(f"split is {split!r}; wanted one of {', '.join(get_args(Split))}")
    rows = _rows("prompts.jsonl", lambda row: (row["split"], row["prompt"]))
    return tuple(Prompt.ask(text, source=SOURCE) for name, text in rows if name == split)


def topic_of(prompt: Prompt) -> str:
    """What `prompt` asks about: its last turn read back through `PHRASINGS`. Raises DataError if none of them fits."""
    question = prompt.messages[-1].content if prompt.messages else prompt.text or ""
    for phrasing in sorted(PHRASINGS, key=len, reverse=True):  # the longest first: "about {}" is also a "{}"
        before, after = phrasing.split("{}")
        if found := re.fullmatch(f"{re.escape(before)}(.+){re.escape(after)}", question):
            return found[1]
    raise DataError(f"cannot tell the topic of {question!r}; word it like {PHRASINGS[0]!r}")


def best_prompted(prompt: Prompt) -> Prompt:
    """The same question after `BEST_EXAMPLES`, asked and answered: what prompting alone gives (`base_prompted`)."""
    shown = {topic_of(d.prompt): d for d in demonstrations()}
    turns = [
        turn
        for demonstration in map(shown.__getitem__, BEST_EXAMPLES)
        for turn in (*demonstration.prompt.messages, Message("assistant", demonstration.answer))
    ]
    return Prompt(messages=(*turns, prompt.messages[-1]), user=prompt.user, source=prompt.source)


def _rows(name: str, read: Callable[[Mapping[str, str]], T]) -> list[T]:
    text = files("backflip.demo").joinpath(name).read_text(encoding="utf-8")
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            rows.append(read(json.loads(line)))
        except (KeyError, ValueError) as error:
            message = f"{name}, line {number}: {error!r}; wanted one JSON object with the documented fields"
            raise DataError(message) from error
    return rows


def judge(prompt: Prompt, text: str, ended: bool) -> float:
    """The simulated judge's value of a text, from 0 to 1: the labeller of the demo, named by its spec."""
    return _judgement(prompt, text, ended).value


def judge_parts(prompt: Prompt, text: str, ended: bool) -> Mapping[str, float]:
    """What the simulated judge's value is made of."""
    return _judgement(prompt, text, ended).parts


judge.parts = judge_parts  # type: ignore[attr-defined]  # how `backflip evaluate` asks a judge for its parts


def _judgement(prompt: Prompt, text: str, ended: bool) -> Judgement:
    return SimulatedJudge().score(prompt, text, ended=ended, topic=topic_of(prompt))
