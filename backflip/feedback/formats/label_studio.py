"""Label Studio's JSON: tasks with `data` and `annotations`, of the Pairwise tag or the Ranker tag with a List.

Source: labelstud.io, "Task format", tags "Pairwise" and "Ranker", template "Human preference collection for RLHF". Two
candidates go out as `answer1` and `answer2` with Pairwise, more as `items` with Ranker:

    <Text name="prompt" value="$prompt"/>
    <Pairwise name="preference" toName="answer1,answer2"/>
    <Text name="answer1" value="$answer1"/> <Text name="answer2" value="$answer2"/>

    <Text name="prompt" value="$prompt"/>
    <List name="answers" value="$items"/> <Ranker name="preference" toName="answers"/>

A ranking is one list of all ids; ties are buckets named 1, 2, 3.. from the best. Annotations that were cancelled, or
leave an item in no bucket, say nothing. `data.backflip` keeps what the tool has no place for
(`backflip.feedback.formats.exchange`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from backflip.feedback.formats.exchange import (
    PACK,
    Said,
    Tiers,
    by_question,
    join,
    pack,
    prompt_field,
    prompt_text,
    question_of,
    read_prompt,
)
from backflip.feedback.formats.files import Row
from backflip.feedback.formats.ranked import Imported, Ranked, Skip, by_line, candidate_texts
from backflip.records import Answer, Candidate, Question

__all__ = ["ask", "read", "write"]

_LEFT_OVER = "_"  # Label Studio's name for the items in no bucket


def read(rows: Sequence[Row]) -> Imported:
    """All annotations of all tasks, by the annotators' e-mail or number. Raises DataError at a malformed task."""
    return by_line(rows, _parse, named=True)


def write(ranked: Iterable[Ranked]) -> Iterator[dict[str, Any]]:
    """One task a question, with all its annotations; nothing is lost. Raises DataError at a clip."""
    return (_task(question, answers) for question, answers in by_question(ranked, "label-studio"))


def ask(questions: Iterable[Question]) -> Iterator[dict[str, Any]]:
    """Tasks without annotations: to be answered in Label Studio. Raises DataError at a clip."""
    return (_task(question, []) for question in questions)


def _parse(row: Row) -> list[Ranked]:
    data = row.inside("data")
    annotations = [row.nested(f"annotations[{i}]", a) for i, a in enumerate(row.items("annotations"))]
    if "items" in data.data:
        names, candidates = _listed(data)
    else:
        names, candidates = _compared(data, annotations)
    if len({c.text for c in candidates}) < len(candidates):
        raise Skip("a text is shown twice: it cannot be preferred to itself")
    question = question_of(row, read_prompt(data, prompt_field(data, [*names, "items"])), candidates)
    ids = dict(zip(names, (c.id for c in candidates), strict=True))
    said = [one for annotation in annotations for one in _said(annotation, ids)]
    packed = data.inside(PACK) if PACK in data.data else None
    found = join(row, question, said, packed, alias=lambda labeller: labeller.id, silent=_silent)
    if not found:
        raise Skip("no annotation prefers anything")
    return found


def _listed(data: Row) -> tuple[list[str], list[Candidate]]:
    """Names and candidates of a List; a title beside a body is taken for the name of who wrote it."""
    items = [data.nested(f"items[{i}]", item) for i, item in enumerate(data.items("items"))]
    names, candidates = [], []
    for item in items:
        field = next((f for f in ("body", "html", "title") if f in item.data), "body")
        origin = item.optional_text("title") or "" if field != "title" else ""
        names.append(item.text("id"))
        candidates.append(Candidate(item.text(field), origin=origin))
    return names, candidates


def _compared(data: Row, annotations: list[Row]) -> tuple[list[str], list[Candidate]]:
    """Names and candidates of a Pairwise: the fields that its annotations name, or the usual two."""
    named = (r.optional_text("to_name") for a in annotations for r in _results(a) if r.data.get("type") == "pairwise")
    names = next((n.split(",") for n in named if n and all(part in data.data for part in n.split(","))), None)
    usual = (["answer1", "answer2"], ["text1", "text2"], ["response1", "response2"])
    names = names or next((pair for pair in usual if all(part in data.data for part in pair)), ["answer1", "answer2"])
    return names, [Candidate(data.text(name)) for name in names]


def _results(annotation: Row) -> list[Row]:
    return [annotation.nested(f"result[{i}]", r) for i, r in enumerate(annotation.items("result"))]


def _said(annotation: Row, ids: dict[str, str]) -> Iterator[Said]:
    if annotation.data.get("was_cancelled"):
        return
    for result in _results(annotation):
        kind = result.data.get("type")
        if kind not in ("pairwise", "ranker"):
            continue
        value = result.inside("value")
        tiers = _selected(value, list(ids.values())) if kind == "pairwise" else _ranked(value, ids)
        if not tiers:
            continue
        seconds = annotation.data.get("lead_time")
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float))):
            raise annotation.error("lead_time", "is no number; wanted seconds")
        time = annotation.optional_text("created_at") or ""
        yield Said(_annotator(annotation), tiers, None if seconds is None else float(seconds), time)


def _selected(value: Row, ids: list[str]) -> Tiers:
    side = value.text("selected")
    if side not in ("left", "right") or len(ids) != 2:
        raise value.error("selected", f"is {side!r} of {len(ids)}; wanted left or right of two")
    return ((ids[0],), (ids[1],)) if side == "left" else ((ids[1],), (ids[0],))


def _ranked(value: Row, ids: dict[str, str]) -> Tiers:
    """None if an item was not ranked."""
    ranker = value.data.get("ranker")
    groups = {"rank": value.items("ranker")} if isinstance(ranker, list) else dict(value.inside("ranker").data)
    if any(not isinstance(group, list) for group in groups.values()):
        raise value.error("ranker", "has a bucket that is no list; wanted lists of ids")
    left_over = groups.pop(_LEFT_OVER, [])
    if all(name.isdecimal() for name in groups):
        tiers = [groups[name] for name in sorted(groups, key=int) if groups[name]]
    elif len(groups) == 1:
        tiers = [[name] for group in groups.values() for name in group]
    else:
        raise value.error(
            "ranker", f"has buckets {sorted(groups)}, which have no order; wanted one list, or buckets named 1, 2, 3.."
        )
    named = [name for tier in tiers for name in tier]
    if unknown := [name for name in named if not isinstance(name, str) or name not in ids]:
        raise value.error("ranker", f"names {unknown[0]!r}, which is no id of data.items; they are {sorted(ids)}")
    if len(set(named)) < len(named):
        raise value.error("ranker", "names an item twice")
    complete = not left_over and len(named) == len(ids)
    return tuple(tuple(ids[name] for name in tier) for tier in tiers) if complete else ()


def _annotator(annotation: Row) -> str:
    who = annotation.data.get("completed_by")
    if isinstance(who, dict):
        who = who.get("email", who.get("id"))
    if isinstance(who, bool) or not isinstance(who, (int, str)) or who == "":
        raise annotation.error("completed_by", "names nobody; wanted a number, or an object with 'email' or 'id'")
    return str(who)


def _silent(answer: Answer) -> bool:
    """Label Studio has no "cannot tell", and Pairwise no tie."""
    return len(answer.tiers) == 0 or (len(answer.tiers) == 1 and len(answer.tiers[0]) == 2)


def _task(question: Question, answers: Sequence[Answer]) -> dict[str, Any]:
    texts = candidate_texts(question, "label-studio")
    data: dict[str, Any] = {"prompt": prompt_text(question)}
    if len(texts) == 2:
        data |= {f"answer{i}": text for i, text in enumerate(texts.values(), 1)}
    else:
        data["items"] = [{"id": key, "title": "", "body": text} for key, text in texts.items()]
    data[PACK] = pack(question, answers)
    return {"data": data, "annotations": [_annotation(list(texts), a) for a in answers if not _silent(a)]}


def _annotation(ids: list[str], answer: Answer) -> dict[str, Any]:
    if len(ids) == 2:
        value: dict[str, Any] = {"selected": ("left", "right")[ids.index(answer.tiers[0][0])]}
        result = {"type": "pairwise", "to_name": "answer1,answer2", "value": value}
    else:
        tied = any(len(tier) > 1 for tier in answer.tiers)
        buckets = {str(i): list(tier) for i, tier in enumerate(answer.tiers, 1)} | {_LEFT_OVER: []}
        value = {"ranker": buckets if tied else {"rank": [c for (c,) in answer.tiers]}}
        result = {"type": "ranker", "to_name": "answers", "value": value}
    return {
        "completed_by": {"email": answer.labeller.id},
        "result": [{"from_name": "preference", **result}],
        "was_cancelled": False,
        **({"lead_time": answer.seconds} if answer.seconds is not None else {}),
        **({"created_at": answer.time} if answer.time else {}),
    }
