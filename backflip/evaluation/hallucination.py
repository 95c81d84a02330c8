"""Closed-domain answers and summaries: do they say what the given text does not?

By default a rule decides: an answer is unsupported where it names a number or a name that the text has not, or where
more than half of its content words (by stem) are not in the text. A language-inference model may decide in its place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from backflip.evaluation.numbers import Number, mean, share
from backflip.evaluation.sources import table_rows
from backflip.lm.judge import content_stems, stem
from backflip.lm.labels import LabelModel

__all__ = [
    "INSTRUCTION",
    "ClosedQuestion",
    "Entailment",
    "Support",
    "Supported",
    "WordSupport",
    "absent",
    "closed_questions",
    "numbers",
]

# Of InstructGPT's appendix, for SQuADv2 without examples.
INSTRUCTION = (
    "Answer each question using information in the preceding background paragraph. If there is not enough information "
    "provided, answer with “Not in background.”\n\n"
)
_ABSENT = re.compile(
    r"not (?:in|mentioned|stated|given|provided|enough)|no information|do(?:es)? not (?:say|know)", re.IGNORECASE
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NAME = re.compile(r"(?<![.!?\"“”'])(?<!^)\s([A-Z][\w'’-]+)")


class ClosedQuestion(NamedTuple):
    """`text` is what the answer must rest on; `answerable` is None where the set does not say (summaries)."""

    key: str
    prompt: str
    text: str
    answerable: bool | None


class Support(NamedTuple):
    """Whether an answer rests on the text, and the share of its content words that are not there."""

    supported: bool
    missing: float


class Supported(Protocol):
    """Whatever says how far answers rest on the given texts."""

    def support(self, texts: Sequence[str], answers: Sequence[str]) -> list[Support]: ...


class WordSupport:
    """The rule of this module's first lines. Cheap, and blind to what is put together wrongly from right words."""

    def support(self, texts: Sequence[str], answers: Sequence[str]) -> list[Support]:
        return [_by_words(text, answer) for text, answer in zip(texts, answers, strict=True)]


class Entailment:
    """A language-inference model by id: supported where entailment is its likeliest label; `missing` is 1 - P of it."""

    def __init__(self, spec: str, *, device: str = "cpu") -> None:
        self.model = LabelModel.load(spec, device=device)
        self.label = self.model.named("entailment", "entail")

    def support(self, texts: Sequence[str], answers: Sequence[str]) -> list[Support]:
        rows = self.model.probabilities(texts, answers)
        return [Support(max(row, key=row.__getitem__) == self.label, 1 - row[self.label]) for row in rows]


def closed_questions(folder: Path | None, limit: int | None = None) -> list[ClosedQuestion]:
    """The SQuADv2 questions (half without an answer in the text) and posts to summarise of InstructGPT's samples."""
    columns = ("context", "ref_text")
    asked: dict[str, ClosedQuestion] = {}
    for row in table_rows("instructgpt_squad", folder, columns=columns):
        context = row["context"]
        background = context.split("Background:", 1)[-1].split("\n\nQ:", 1)[0]
        found = ClosedQuestion(f"squad:{context}", INSTRUCTION + context, background, not absent(row["ref_text"]))
        asked.setdefault(context, found)
    posts: dict[str, ClosedQuestion] = {}
    for row in table_rows("instructgpt_tldr", folder, columns=columns):
        context = row["context"]
        posts.setdefault(context, ClosedQuestion(f"tldr:{context}", context, context.removesuffix("TL;DR:"), None))
    return [*list(asked.values())[:limit], *list(posts.values())[:limit]]


def absent(answer: str) -> bool:
    """Whether an answer says that the text does not tell, or says nothing."""
    return not answer.strip() or _ABSENT.search(answer) is not None


def numbers(
    asked: Sequence[ClosedQuestion], answers: Sequence[str], judge: Supported, *, seed: int = 0
) -> dict[str, Number]:
    """Shares of answers that are unsupported, over those that say something; of questions without an answer in the
    text the share that got one all the same; of those with one, the share that declined."""
    found: dict[str, Number] = {}
    given = [(q, a) for q, a in zip(asked, answers, strict=True) if not absent(a)]
    supports = judge.support([q.text for q, _ in given], [a for _, a in given])
    for name, summary in (("questions", False), ("summaries", True)):
        own = [s for s, (q, _) in zip(supports, given, strict=True) if (q.answerable is None) == summary]
        if own:
            found[f"unsupported/{name}"] = share([not s.supported for s in own])
            found[f"missing_words/{name}"] = mean([s.missing for s in own], seed=seed)
    silent = {q.key: absent(a) for q, a in zip(asked, answers, strict=True)}
    for name, answerable in (("answered_without_support", False), ("declined_with_support", True)):
        own_keys = [q.key for q in asked if q.answerable is answerable]
        if own_keys:
            found[name] = share([silent[key] == answerable for key in own_keys])
    return found


def _by_words(text: str, answer: str) -> Support:
    there, stems = content_stems(text), content_stems(answer)
    missing = len(stems - there) / len(stems) if stems else 0.0
    numbers_there = set(_NUMBER.findall(text))
    strange = any(number not in numbers_there for number in _NUMBER.findall(answer))
    strange |= any(stem(name.lower()) not in there for name in _NAME.findall(answer))
    return Support(not strange and missing <= 0.5, missing)
