"""OpenAI's comparisons of summaries (S): `info`, two `summaries`, the `choice`, the `worker` and a 9-point confidence.

Source: github.com/openai/summarize-from-feedback, JSON lines. The prompt is the text that S's models were asked to
continue. What our records have no field for (ids, split, batch, extra.confidence, notes) is kept as JSON in the
answer's note, and comes back at export. `choice` 0 goes with confidence 1-4 and `choice` 1 with 6-9.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from backflip.errors import DataError
from backflip.feedback.formats.files import Row
from backflip.feedback.formats.ranked import Imported, Ranked, Skip, by_line, candidate_texts, note_of
from backflip.feedback.pairs import pairs
from backflip.records import Answer, Candidate, Labeller, Prompt, Question

__all__ = ["read", "write"]

_POST = re.compile(
    r"SUBREDDIT: r/(?P<subreddit>[^\n]*)\n\nTITLE: (?P<title>[^\n]*)\n\nPOST: (?P<post>.*)\n\nTL;DR:", re.DOTALL
)
_ARTICLE = re.compile(r"Article:\n(?P<article>.*)\n\nTL;DR:", re.DOTALL)


def read(rows: Sequence[Row]) -> Imported:
    """One answer a row, by its worker; `shown` is the order of the summaries. Raises DataError at a malformed row."""
    return by_line(rows, _parse, named=True)


def write(ranked: Iterable[Ranked]) -> Iterator[dict[str, Any]]:
    """The answers' pairs (ties and "cannot tell" have none), with worker, shown order and the note's fields.

    Raises DataError at a clip and at a dialogue: a comparison's prompt is one text.
    """
    return chain.from_iterable(_rows(*row) for row in ranked)


def _parse(row: Row) -> list[Ranked]:
    info, summaries = row.inside("info"), row.items("summaries")
    choice, worker = row.whole("choice"), row.text("worker")
    if len(summaries) != 2 or choice not in (0, 1):
        raise row.error("choice", f"is {choice} of {len(summaries)} summaries; wanted 0 or 1 of 2")
    sides = [row.nested(f"summaries[{i}]", s) for i, s in enumerate(summaries)]
    candidates = [Candidate(s.text("text"), origin=s.optional_text("policy") or "") for s in sides]
    if candidates[0].id == candidates[1].id:
        raise Skip("both summaries are the same text: there is nothing to prefer")
    question = Question("text", tuple(candidates), _prompt(info))
    shown = tuple(c.id for c in candidates)
    tiers = ((shown[choice],), (shown[1 - choice],))
    note = json.dumps(_rest(row, info, sides), ensure_ascii=False, sort_keys=True)
    labeller = Labeller(worker, "import")
    return [Ranked(question, Answer(question.id, labeller, tiers, shown=shown, source=row.file, note=note))]


def _prompt(info: Row) -> Prompt:
    if "article" in info.data:
        return Prompt(text=f"Article:\n{info.text('article')}\n\nTL;DR:", source="openai")
    subreddit, title = info.optional_text("subreddit"), info.optional_text("title")
    if subreddit is None or title is None:
        return Prompt(text=info.text("post"), source="openai")
    text = f"SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {info.text('post')}\n\nTL;DR:"
    return Prompt(text=text, source="openai")


def _rest(row: Row, info: Row, sides: list[Row]) -> dict[str, Any]:
    """What the records have no field for."""
    extra = row.inside("extra").data if "extra" in row.data else {}
    confidence = extra.get("confidence")
    if confidence is not None and (type(confidence) is not int or not 1 <= confidence <= 9):
        raise row.error("extra.confidence", f"is {json.dumps(confidence)}; wanted a whole number from 1 to 9")
    rest = {k: row.data[k] for k in ("split", "batch") if k in row.data}
    about = {k: v for k, v in info.data.items() if k not in ("post", "title", "subreddit", "article")}
    return rest | {"extra": extra, "info": about, "notes": [s.optional_text("note") for s in sides]}


def _rows(question: Question, answer: Answer) -> Iterator[dict[str, Any]]:
    answer.check(question)
    texts, prompt = candidate_texts(question, "openai"), question.prompt
    if prompt is None or prompt.text is None:
        raise DataError(
            f"question {question.id[:12]} asks with a dialogue, which format 'openai' cannot hold; use 'trl'"
        )
    note, origins = note_of(answer), {c.id: c.origin for c in question.candidates}
    shown = answer.shown or tuple(c.id for c in question.candidates)
    for pair in pairs(answer):
        order = sorted((pair.better, pair.worse), key=shown.index)
        # With more than two candidates the notes by place no longer fit.
        notes = note.get("notes", [None, None]) if len(shown) == 2 else [None, None]
        yield {
            "info": note.get("info", {"id": prompt.id}) | _info(prompt.text),
            **{k: note[k] for k in ("split", "batch") if k in note},
            "summaries": [
                {"text": texts[c], "policy": origins[c], "note": n} for c, n in zip(order, notes, strict=True)
            ],
            "choice": order.index(pair.better),
            "worker": answer.labeller.id,
            "extra": note.get("extra", {}),
        }


def _info(text: str) -> dict[str, str | None]:
    """The fields that a prompt's text was made from; a text of another make is a post without title."""
    if match := _POST.fullmatch(text) or _ARTICLE.fullmatch(text):
        return dict(match.groupdict())
    return {"post": text, "title": None, "subreddit": None}
