"""Argilla's records (version 2, `dataset.records.to_json`): `fields`, `responses` to a ranking question, `metadata`.

Source: docs.argilla.io, "Records", and the records that its client writes. One record a question:

    rg.Settings(
        fields=[rg.TextField("prompt"), rg.TextField("reply-1"), rg.TextField("reply-2"), ..],
        questions=[rg.RankingQuestion("preference", values=["reply-1", "reply-2", ..])],
        allow_extra_metadata=True,
    )

A response is the list of the values from best to worst, or, as Argilla's server has it, {"value", "rank"} with equal
ranks for ties. Its client drops the ranks: a tie comes back as an order, and stays a tie if nothing else was changed.
Users are UUIDs: other labellers go out as one made from their id. `metadata.backflip`, a string, keeps what Argilla has
no place for (`backflip.feedback.formats.exchange`).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from backflip.feedback.formats.exchange import (
    PACK,
    Said,
    Tiers,
    by_question,
    consistent,
    join,
    pack,
    prompt_field,
    prompt_text,
    question_of,
    read_prompt,
)
from backflip.feedback.formats.files import Row
from backflip.feedback.formats.ranked import Imported, Ranked, Skip, by_line, candidate_texts
from backflip.records import Answer, Candidate, Labeller, Question

__all__ = ["ask", "read", "user_id", "write"]

QUESTION = "preference"
_USERS = uuid.uuid5(uuid.NAMESPACE_URL, "https://backflip.invalid/labellers")


def read(rows: Sequence[Row]) -> Imported:
    """All responses to each record's ranking question, by the users' ids. Raises DataError at a malformed record."""
    return by_line(rows, _parse, named=True)


def write(ranked: Iterable[Ranked]) -> Iterator[dict[str, Any]]:
    """One record a question, with all its responses; nothing is lost. Raises DataError at a clip."""
    return (_record(question, answers) for question, answers in by_question(ranked, "argilla"))


def ask(questions: Iterable[Question]) -> Iterator[dict[str, Any]]:
    """Records without responses: to be answered in Argilla. Raises DataError at a clip."""
    return (_record(question, []) for question in questions)


def user_id(labeller: Labeller) -> str:
    """The labeller's id if it is a UUID, or one made from it."""
    try:
        return str(uuid.UUID(labeller.id))
    except ValueError:
        return str(uuid.uuid5(_USERS, labeller.id))


def _parse(row: Row) -> list[Ranked]:
    fields, responses = row.inside("fields"), row.inside("responses")
    packed = _packed(row)
    name = _question_name(responses)
    given = [responses.nested(f"{name}[{i}]", r) for i, r in enumerate(responses.items(name))] if name else []
    ranked = [(response, ranks) for response in given if (ranks := _ranks(response))]
    names = list(ranked[0][1]) if ranked else [n for n in fields.data if n.startswith(("reply", "response"))]
    places = {name: _field(fields, name) for name in sorted(names)}
    candidates = {name: Candidate(fields.text(place)) for name, place in places.items()}
    if len({c.text for c in candidates.values()}) < len(candidates):
        raise Skip("a text is shown twice: it cannot be preferred to itself")
    prompt = read_prompt(fields, prompt_field(fields, list(places.values())))
    question = question_of(row, prompt, list(candidates.values()))
    said = [_said(response, ranks, candidates) for response, ranks in ranked]
    found = join(row, question, said, packed, alias=user_id, silent=lambda a: a.cannot_tell, same=_same)
    if not found:
        raise Skip("nobody has answered the ranking question")
    return found


def _packed(row: Row) -> Row | None:
    metadata = row.inside("metadata") if row.data.get("metadata") is not None else None
    text = metadata.optional_text(PACK) if metadata else None
    if metadata is None or text is None:
        return None
    try:
        return metadata.nested(PACK, json.loads(text))
    except ValueError as error:
        raise metadata.error(PACK, f"is not JSON ({error}); wanted what an export put there") from error


def _question_name(responses: Row) -> str | None:
    """The ranking question among all that were asked: the one whose values are lists."""
    found = [
        name
        for name, given in responses.data.items()
        if isinstance(given, list) and any(isinstance(r, dict) and isinstance(r.get("value"), list) for r in given)
    ]
    if len(found) > 1 and QUESTION not in found:
        raise responses.error(found[1], f"is a second ranking beside {found[0]!r}; wanted one, or one named {QUESTION}")
    return QUESTION if QUESTION in found else found[0] if found else None


def _ranks(response: Row) -> dict[str, int]:
    """Value -> rank, 1 is the best; none if a value was left without a rank (a draft)."""
    ranks: dict[str, int] = {}
    for place, item in enumerate(response.items("value"), 1):
        if isinstance(item, str):
            name, rank = item, place
        else:
            nested = response.nested(f"value[{place - 1}]", item)
            if nested.data.get("rank") is None and "rank" in nested.data:
                return {}
            name, rank = nested.text("value"), nested.whole("rank") if "rank" in nested.data else place
        if name in ranks:
            raise response.error("value", f"ranks {name!r} twice")
        ranks[name] = rank
    return ranks


def _field(fields: Row, name: str) -> str:
    """The field of a ranking's value: of the same name, capitals and punctuation aside."""
    if name in fields.data:
        return name
    alike = [field for field in fields.data if _plain(field) == _plain(name)]
    if len(alike) != 1:
        raise fields.error(name, f"is missing: it was ranked; the fields are {', '.join(sorted(fields.data))}")
    return alike[0]


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _said(response: Row, ranks: dict[str, int], candidates: dict[str, Candidate]) -> Said:
    if sorted(ranks) != sorted(candidates):
        raise response.error("value", f"ranks {sorted(ranks)}; wanted {sorted(candidates)}, as the first response has")
    tiers = (tuple(candidates[n].id for n in ranks if ranks[n] == rank) for rank in sorted(set(ranks.values())))
    return Said(response.text("user_id"), tuple(tiers))


def _same(told: Tiers, kept: Tiers) -> bool:
    """Argilla's client drops equal ranks, so an order that breaks ties alone is no change."""
    return consistent(told, kept) or [sorted(t) for t in told] == [sorted(t) for t in kept]


def _record(question: Question, answers: Sequence[Answer]) -> dict[str, Any]:
    texts = candidate_texts(question, "argilla")
    names = {key: f"reply-{i}" for i, key in enumerate(texts, 1)}
    kept = json.dumps(pack(question, answers), ensure_ascii=False, sort_keys=True)
    return {
        "id": question.id,
        "fields": {"prompt": prompt_text(question)} | {names[key]: text for key, text in texts.items()},
        "metadata": {PACK: kept},
        "suggestions": {},
        "responses": {
            QUESTION: [
                {"value": [names[c] for tier in a.tiers for c in tier], "user_id": user_id(a.labeller)}
                for a in answers
                if not a.cannot_tell
            ]
        },
        "vectors": {},
    }
