"""PandaLM's test set: two responses to an instruction, and three annotators who say 1, 2 or 0 (a tie).

Source: github.com/WeOpenML/PandaLM, testset-v1.json, one JSON array. Three answers a row, by "annotator1" to
"annotator3". The models' names are the candidates' origins; `idx` and `motivation_app` are kept as JSON in the note.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, count
from typing import Any

from backflip.errors import DataError
from backflip.feedback.formats.files import Row
from backflip.feedback.formats.ranked import Imported, Ranked, Skip, by_line, candidate_texts, note_of
from backflip.records import Answer, Candidate, Labeller, Prompt, Question

__all__ = ["read", "write"]

_ANNOTATORS = ("annotator1", "annotator2", "annotator3")


def read(rows: Sequence[Row]) -> Imported:
    """Three answers a row; `shown` is (response1, response2). Raises DataError at a malformed row."""
    return by_line(rows, _parse)


def write(ranked: Iterable[Ranked]) -> Iterator[dict[str, Any]]:
    """Every three answers to a question make one row for each pair of its candidates; ties are kept.

    Kept are prompt, origins, shown order and tiers; the annotators are named anew. Raises DataError at a clip, a
    "cannot tell", a prompt that is not one user turn, and where answers to a question do not come in threes.
    """
    grouped: dict[str, list[Ranked]] = {}
    for row in ranked:
        grouped.setdefault(row.question.id, []).append(row)
    numbers = count()
    for rows in grouped.values():
        if len(rows) % 3:
            name = rows[0].question.id[:12]
            raise DataError(
                f"question {name} has {len(rows)} answers; format 'pandalm' wants three a question: use 'jsonl'"
            )
        for start in range(0, len(rows), 3):
            yield from _rows(rows[start : start + 3], numbers)


def _parse(row: Row) -> Iterator[Ranked]:
    first, second = _response(row, "response1"), _response(row, "response2")
    if first == second:
        raise Skip("both responses are the same text: there is nothing to prefer")
    names = (row.optional_text("cmp_key") or "_").split("_", 1)
    origins = names if len(names) == 2 else ["", ""]
    shown = [Candidate(text, origin=o) for text, o in zip((first, second), origins, strict=True)]
    prompt = Prompt.ask("\n\n".join(filter(None, (row.text("instruction"), row.text("input")))), source="pandalm")
    question = Question("text", tuple(shown), prompt)
    note = json.dumps({k: row.data[k] for k in ("idx", "motivation_app") if k in row.data}, ensure_ascii=False)
    ids = (shown[0].id, shown[1].id)
    for name in _ANNOTATORS:
        tiers = _tiers(row, name, ids)
        yield Ranked(question, Answer(question.id, Labeller(name, "import"), tiers, ids, source=row.file, note=note))


def _response(row: Row, field: str) -> str:
    # Six responses of the published file are a bare `true`: the models' word "True", read as a value on the way.
    value = row.data.get(field)
    return str(value) if isinstance(value, bool) else row.text(field)


def _tiers(row: Row, field: str, ids: tuple[str, str]) -> tuple[tuple[str, ...], ...]:
    choice = row.whole(field)
    if choice not in (0, 1, 2):
        raise row.error(field, f"is {choice}; wanted 1 or 2 (the better response) or 0 (a tie)")
    return (ids,) if choice == 0 else ((ids[choice - 1],), (ids[2 - choice],))


def _rows(answers: list[Ranked], numbers: Iterator[int]) -> Iterator[dict[str, Any]]:
    question, answer = answers[0]
    for each in answers:
        each.answer.check(question)
        if each.answer.cannot_tell:
            raise DataError(f"an answer to question {question.id[:12]} is 'cannot tell', which format 'pandalm' lacks")
    texts, origins = candidate_texts(question, "pandalm"), {c.id: c.origin for c in question.candidates}
    note, instruction = note_of(answer), _instruction(question)
    for first, second in combinations(answer.shown or tuple(texts), 2):
        number = next(numbers)
        yield {
            "idx": note.get("idx", number),
            "motivation_app": note.get("motivation_app", ""),
            "cmp_key": f"{origins[first]}_{origins[second]}",
            "instruction": instruction,
            "input": "",
            "response1": texts[first],
            "response2": texts[second],
            **{name: _choice(a.answer, first, second) for name, a in zip(_ANNOTATORS, answers, strict=True)},
        }


def _instruction(question: Question) -> str:
    messages = question.prompt.messages if question.prompt else ()
    if len(messages) != 1:
        raise DataError(f"question {question.id[:12]} is not one user turn, which format 'pandalm' wants; use 'jsonl'")
    return messages[0].content


def _choice(answer: Answer, first: str, second: str) -> int:
    tier = {c: index for index, tier in enumerate(answer.tiers) for c in tier}
    return 0 if tier[first] == tier[second] else 1 if tier[first] < tier[second] else 2
