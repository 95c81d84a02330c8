"""What the formats of labelling tools share: who said what in the tool, joined to what went out of here.

A tool has no place for much of a record (a tie of two, ratings, what was shown, who is of which kind). So an export
carries a `pack`, the records as JSON, in a corner where the tool keeps what it does not know. At import the tool has
the last word: an answer that still says the same comes back whole from the pack, one that was changed is the tool's,
one that was deleted there is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, cast

from backflip.errors import DataError
from backflip.feedback.formats.files import Row
from backflip.feedback.formats.ranked import Ranked, candidate_texts
from backflip.feedback.formats.rankings import dump_record, read_record
from backflip.records import Answer, Candidate, Labeller, Message, Prompt, Question, Role

__all__ = [
    "PACK",
    "Said",
    "Tiers",
    "by_question",
    "consistent",
    "join",
    "pack",
    "prompt_field",
    "prompt_text",
    "question_of",
    "read_prompt",
]

PACK: Final = "backflip"
Tiers = tuple[tuple[str, ...], ...]
_PROMPTS = ("prompt", "instruction", "question", "query", "input", "text")


class Said(NamedTuple):
    """One person's ranking in the tool, by the name that the tool has for them."""

    who: str
    tiers: Tiers
    seconds: float | None = None
    time: str = ""


def by_question(ranked: Iterable[Ranked], format: str) -> list[tuple[Question, list[Answer]]]:  # noqa: A002
    """Each question with all its answers, in order of arrival. Raises DataError at a clip, or a misfit."""
    found: dict[str, tuple[Question, list[Answer]]] = {}
    for question, answer in ranked:
        answer.check(question)
        candidate_texts(question, format)
        found.setdefault(question.id, (question, []))[1].append(answer)
    return list(found.values())


def pack(question: Question, answers: Sequence[Answer]) -> dict[str, Any]:
    """The records as JSON."""
    return {"question": dump_record(question), "answers": [dump_record(answer) for answer in answers]}


def join(
    row: Row,
    seen: Question,
    said: Sequence[Said],
    packed: Row | None,
    *,
    alias: Callable[[Labeller], str],
    silent: Callable[[Answer], bool],
    same: Callable[[Tiers, Tiers], bool] = lambda told, kept: _sorted(told) == _sorted(kept),
) -> list[Ranked]:
    """The question as it went out, if the tool still shows it, and its answers; of two by one person the last.

    `alias` is the tool's name of a labeller, `silent` says that the tool has no way to hold an answer (which then stays
    as it went out), `same` that a ranking in the tool still says what the packed one says.
    """
    question, kept = _unpack(seen, packed)
    known = {alias(answer.labeller): answer for answer in kept}
    latest = {one.who: one for one in said}
    answers = [_answer(row, question, one, known.get(one.who), same) for one in latest.values()]
    told = {answer.labeller.id for answer in answers}
    answers += [a for a in known.values() if silent(a) and a.labeller.id not in told]
    with row.at():
        for answer in answers:
            answer.check(question)
    return [Ranked(question, answer) for answer in answers]


def _answer(
    row: Row, question: Question, said: Said, known: Answer | None, same: Callable[[Tiers, Tiers], bool]
) -> Answer:
    if known is not None and same(said.tiers, known.tiers):
        return known
    labeller = known.labeller if known else Labeller(said.who, "import")
    return Answer(question.id, labeller, _sorted(said.tiers), seconds=said.seconds, time=said.time, source=row.file)


def consistent(told: Tiers, kept: Tiers) -> bool:
    """Whether a strict order (tiers of one) breaks only the ties of `kept`."""
    order = [candidate for tier in told for candidate in tier]
    place = {candidate: index for index, tier in enumerate(kept) for candidate in tier}
    return sorted(order) == sorted(place) and [place[c] for c in order] == sorted(place.values())


def _sorted(tiers: Tiers) -> Tiers:
    return tuple(tuple(sorted(tier)) for tier in tiers)


def _unpack(seen: Question, packed: Row | None) -> tuple[Question, list[Answer]]:
    """What went out, if it is still what the tool shows."""
    if packed is None:
        return seen, []
    question = read_record(packed, "question", Question)
    answers = [
        read_record(packed.nested(f"answers[{i}]", {"answer": a}), "answer", Answer)
        for i, a in enumerate(packed.items("answers"))
    ]
    texts = sorted(c.text or "" for c in question.candidates)
    if texts != sorted(c.text or "" for c in seen.candidates) or prompt_text(question) != prompt_text(seen):
        return seen, []
    return question, answers


def question_of(row: Row, prompt: Prompt, candidates: Sequence[Candidate]) -> Question:
    """The question as the tool shows it; raises DataError, with its place, if it shows a text twice."""
    with row.at():
        return Question("text", tuple(candidates), prompt)


def prompt_text(question: Question) -> str:
    """What a tool shows as the prompt: the text, or the turns of the dialogue by role (one user's turn plainly)."""
    prompt = question.prompt
    if prompt is None:
        raise DataError(f"question {question.id[:12]} has no prompt; wanted one: use 'jsonl'")
    if prompt.text is not None:
        return prompt.text
    if [m.role for m in prompt.messages] == ["user"]:
        return prompt.messages[0].content
    return "\n\n".join(f"{m.role}: {m.content}" for m in prompt.messages)


def prompt_field(row: Row, others: Sequence[str]) -> str:
    """The field that holds the prompt: the first that is named like one, or the only one that is no candidate."""
    left = [name for name in row.data if name not in (*others, PACK)]
    named = [name for name in _PROMPTS if name in left]
    if not named and len(left) != 1:
        raise row.error("prompt", f"is missing among {sorted(left)}; wanted one field named {', '.join(_PROMPTS)}")
    return named[0] if named else left[0]


def read_prompt(row: Row, field: str) -> Prompt:
    """A text is one user's turn; a list of {"role", "content"} is a dialogue."""
    if not isinstance(row.data[field], list):
        return Prompt.ask(row.text(field), source=row.file)
    turns = [row.nested(f"{field}[{i}]", turn) for i, turn in enumerate(row.items(field))]
    with row.at(field):
        return Prompt(tuple(Message(cast("Role", t.text("role")), t.text("content")) for t in turns), source=row.file)
