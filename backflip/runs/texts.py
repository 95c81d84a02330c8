"""What a policy writes as training goes: a few texts now and then in `texts.jsonl`, beside the metrics, for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backflip.records import Prompt
from backflip.runs.files import atomic_write_bytes, refuse_full_disk

__all__ = ["TEXTS", "Written", "append_texts", "read_texts", "truncate_texts"]

TEXTS = "texts.jsonl"


@dataclass(frozen=True)
class Written:
    """A text, what it answers, and its score: the reward's, or on prompts of split validation the judge's."""

    step: int
    prompt: tuple[tuple[str, str], ...]  # (role, content) of each turn; a plain text has the role ""
    text: str
    ended: bool
    score: float | None  # none where it is not finite
    split: str = "train"

    @classmethod
    def to(cls, prompt: Prompt, **fields: Any) -> Written:
        """The text that answers `prompt`."""
        turns = tuple((m.role, m.content) for m in prompt.messages) or (("", prompt.text or ""),)
        return cls(prompt=turns, **fields)


def append_texts(folder: Path, texts: Iterable[Written]) -> None:
    """Adds lines to the folder's file; raises OutOfSpace when the disk is full."""
    path = folder / TEXTS
    lines = "".join(json.dumps(_fields(text), ensure_ascii=False, allow_nan=False) + "\n" for text in texts)
    with refuse_full_disk(path), path.open("ab") as file:
        file.write(lines.encode())


def truncate_texts(folder: Path, after_step: int) -> None:
    """Drops the texts of steps after `after_step`: a resumed run writes them again, and none stands twice."""
    path = folder / TEXTS
    if path.exists():
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= after_step]
        atomic_write_bytes(path, b"".join(kept))


def read_texts(folder: Path) -> list[Written]:
    """All texts, oldest first; a last line that a killed process tore is left out."""
    path = folder / TEXTS
    return [_read(line) for line in _lines(path)] if path.exists() else []


def _fields(text: Written) -> dict[str, Any]:
    known = text.score is not None and math.isfinite(text.score)
    return asdict(text) | {"score": text.score if known else None}


def _read(line: bytes) -> Written:
    fields = json.loads(line)
    return Written(**(fields | {"prompt": tuple((role, content) for role, content in fields["prompt"])}))


def _lines(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
