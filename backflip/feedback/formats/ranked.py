"""What every format reads and writes: questions with their answers, and what was left out of an import and why."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from backflip.errors import DataError
from backflip.feedback.formats.files import Row
from backflip.feedback.pairs import pairs
from backflip.records import Answer, Candidate, Labeller, Prompt, Question

__all__ = ["Imported", "Ranked", "Skip", "Skipped", "TextPair", "by_line", "imported_pair", "note_of", "text_pairs"]


class Ranked(NamedTuple):
    """A question and one labeller's answer to it."""

    question: Question
    answer: Answer


class Skipped(NamedTuple):
    """A well-formed row that says nothing about preferences, and why."""

    place: str
    reason: str


class Imported(NamedTuple):
    """A whole file: what it says, and which rows say nothing."""

    ranked: list[Ranked]
    skipped: list[Skipped]


class TextPair(NamedTuple):
    """Two texts of which one labeller preferred the first."""

    prompt: Prompt
    better: str
    worse: str


class Skip(Exception):
    """Raised by a row's parser for a row that is well formed and holds no preference."""


def by_line(rows: Sequence[Row], parse: Callable[[Row], Iterable[Ranked]], *, named: bool = False) -> Imported:
    """Parses every row before anything is given back; raises DataError with the place of the first malformed one.

    Unless the format names its labellers, the second answer to one question is taken for another person's.
    """
    ranked: list[Ranked] = []
    skipped: list[Skipped] = []
    for row in rows:
        try:
            with row.at():
                ranked.extend(parse(row))
        except Skip as skip:
            skipped.append(Skipped(row.place, str(skip)))
    return Imported(ranked if named else _tell_apart(ranked), skipped)


def imported_pair(row: Row, prompt: Prompt, *, better: str, worse: str, labeller: str) -> Ranked:
    """An answer with one better and one worse text; raises Skip if they are the same text."""
    if better == worse:
        raise Skip("both sides are the same text: there is nothing to prefer")
    best, worst = Candidate(better), Candidate(worse)
    question = Question("text", (best, worst), prompt)
    tiers = ((best.id,), (worst.id,))
    return Ranked(question, Answer(question.id, Labeller(labeller, "import"), tiers, source=row.file))


def text_pairs(ranked: Iterable[Ranked], format: str) -> Iterator[TextPair]:  # noqa: A002 - the word users know
    """The pairs that the answers imply (`backflip.feedback.pairs`), for formats that hold nothing else.

    A ranking of K becomes up to K(K-1)/2 pairs; ties and "cannot tell" have none. Raises DataError at a clip.
    """
    for question, answer in ranked:
        answer.check(question)
        texts = candidate_texts(question, format)
        prompt = question.prompt
        if prompt is None:
            raise DataError(f"question {question.id[:12]} has no prompt, which format {format!r} needs; use 'jsonl'")
        for pair in pairs(answer):
            yield TextPair(prompt, texts[pair.better], texts[pair.worse])


def candidate_texts(question: Question, format: str) -> dict[str, str]:  # noqa: A002
    """Candidate id -> text; raises DataError if one is a clip."""
    texts = {c.id: c.text for c in question.candidates if c.text is not None}
    if len(texts) < len(question.candidates):
        raise DataError(f"question {question.id[:12]} shows clips, which format {format!r} cannot hold; use 'jsonl'")
    return texts


def note_of(answer: Answer) -> Mapping[str, Any]:
    """The fields that an import kept as JSON in `Answer.note`, because the records have no place for them."""
    try:
        note = json.loads(answer.note)
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def _tell_apart(ranked: list[Ranked]) -> list[Ranked]:
    """Numbers a labeller's second answer to one question ("hh#2").

    The data sets that give no labeller, or a column's name for one, hold the same question more than once, and it
    was most likely put to different people; a store takes one answer a labeller.
    """
    times: Counter[tuple[str, str]] = Counter()
    result = []
    for question, answer in ranked:
        who = answer.labeller
        times[question.id, who.id] += 1
        count = times[question.id, who.id]
        if count > 1:
            who = dataclasses.replace(who, id=f"{who.id}#{count}")
        result.append(Ranked(question, dataclasses.replace(answer, labeller=who)))
    return result
