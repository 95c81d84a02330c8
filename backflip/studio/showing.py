"""Texts and clips that a run left, in one form for the page: what was asked, what was written, how it was scored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from backflip.runs.lineage import RunRecord
from backflip.runs.texts import TEXTS
from backflip.studio.tail import Mark, lines_after

__all__ = ["CLIPS", "LOOK", "clips", "look", "texts"]

CLIPS = "clips.jsonl"  # a line a clip: step, media (a key), and perhaps a label
LOOK = "look.json"  # how a control run does now (docs/clips.md)
_MOST = 400  # the newest texts
_SAMPLES, _PROMPTS = 48, 6  # of a run that only sampled; prompts of an evaluation


def texts(record: RunRecord) -> tuple[list[dict[str, Any]], Mark]:
    """Texts as `backflip.runs.texts` has them, and the mark after which more come in a run that goes on.

    A sampling run shows the first of its samples, an evaluation the first prompts' answers by every policy (`by`).
    """
    tail = lines_after(record.folder / TEXTS, Mark())
    lines, mark = tail.lines, tail.mark
    while tail.more:
        tail = lines_after(record.folder / TEXTS, mark)
        lines, mark = (lines + tail.lines)[-_MOST:], tail.mark
    found = [json.loads(line) for line in lines[-_MOST:]]
    return (found or list(_sampled(record.folder)) or list(_answers(record.folder))), mark


def clips(record: RunRecord) -> list[dict[str, Any]]:
    """The newest clips, as a control run wrote them."""
    return [json.loads(line) for line in lines_after(record.folder / CLIPS, Mark()).lines[-8:]]


def look(record: RunRecord) -> dict[str, Any] | None:
    """How the agent of a control run does, as the run wrote it last; None where it has not, or of another version."""
    try:
        found = json.loads((record.folder / LOOK).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("version") == 1 else None


def _sampled(folder: Path) -> Iterator[dict[str, Any]]:
    for row in _rows(folder / "samples.jsonl", _SAMPLES):
        yield _text(row, prompt=_turns(row.get("prompt")))


def _answers(folder: Path) -> Iterator[dict[str, Any]]:
    """What an evaluation shows side by side; the score is the first judge's."""
    try:
        shown = json.loads((folder / "results.json").read_bytes()).get("shown") or ()
    except (OSError, ValueError):
        return
    for row in shown[:_PROMPTS]:
        for name, answer in row["answers"].items():
            text = _text(answer, prompt=[["user", row["prompt"]]])
            yield text | {"by": name, "score": next(iter((answer.get("scores") or {}).values()), None)}


def _text(row: Mapping[str, Any], *, prompt: list[list[str]]) -> dict[str, Any]:
    known = {"step": None, "score": None, "split": "", "text": row.get("text", ""), "ended": row.get("ended", True)}
    return known | {"prompt": prompt}


def _turns(prompt: Any) -> list[list[str]]:
    if not isinstance(prompt, Mapping):
        return []
    turns = [[str(role), str(content)] for role, content in prompt.get("messages") or ()]
    return turns or [["", str(prompt.get("text") or "")]]


def _rows(path: Path, most: int) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from (json.loads(line) for line in islice(file, most) if line.endswith("\n"))
    except (OSError, ValueError):
        return
