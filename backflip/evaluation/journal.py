"""Long measurements by question: each answer is kept as it comes, so that a run that was killed goes on at the next.

A file of JSON lines: the first says what work it is of, each other one is a question's key and its answer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backflip.errors import CheckpointError
from backflip.runs.files import refuse_full_disk
from backflip.runs.progress import progress

__all__ = ["answered"]


def answered(
    path: Path,
    *,
    work: Mapping[str, Any],
    keys: Sequence[str],
    answer: Callable[[Sequence[int]], Sequence[Any]],
    together: int,
    label: str,
) -> list[Any]:
    """The answer to each key, in order; `answer` is given the indices of at most `together` keys that have none yet.

    `work` says all that the answers depend on. Answers are JSON values, and those to other keys are left alone, so that
    a larger limit goes on from a smaller one. Raises CheckpointError where the file is of other work.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    known = _read(path, json.loads(json.dumps(work)))
    missing = [i for i, key in enumerate(keys) if key not in known]
    with refuse_full_disk(path), path.open("a", encoding="utf-8") as file, _steps(keys, missing, label) as step:
        for start in range(0, len(missing), together):
            chunk = missing[start : start + together]
            fresh = zip(chunk, answer(chunk), strict=True)
            lines = {keys[i]: value for i, value in fresh}
            file.write("".join(_line({"key": key, "answer": value}) for key, value in lines.items()))
            file.flush()
            os.fsync(file.fileno())
            known |= lines
            step(len(chunk))
    return [known[key] for key in keys]


def _steps(keys: Sequence[str], missing: Sequence[int], label: str) -> Any:
    return progress(len(keys), label, done=len(keys) - len(missing))


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def _read(path: Path, work: Mapping[str, Any]) -> dict[str, Any]:
    """The answers so far; a last line that a kill cut short is taken off. A file that is not there is begun."""
    if not path.exists() or not path.read_bytes().count(b"\n"):
        path.write_text(_line({"work": work}), encoding="utf-8")
        return {}
    content = path.read_bytes()
    whole = content[: content.rindex(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    try:
        first, *rest = [json.loads(line) for line in whole.split(b"\n") if line]
        there = first["work"]
        known = {row["key"]: row["answer"] for row in rest}
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error!r}); delete it, and the same command measures anew"
        ) from error
    if there != work:
        other = sorted(name for name in {*there, *work} if there.get(name) != work.get(name))
        raise CheckpointError(
            f"{path} holds answers of other work ({', '.join(other)} differ); choose another folder, or delete the file"
        )
    return known
