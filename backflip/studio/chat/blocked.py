"""What the filters blocked, for review by people: JSON lines in one file, which only this machine's owner may read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backflip.safety.verdict import Verdict

__all__ = ["Blocked", "read_blocked"]


class Blocked:
    """Appends to the file; without one it keeps nothing."""

    def __init__(self, path: Path | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path, self._now = path, now

    def add(self, *, client: str, model: str, role: str, text: str, verdict: Verdict) -> None:
        """One blocked turn: who was asked what, whose text it was, and why it was blocked."""
        if self.path is None:
            return
        row = {
            "time": self._now().isoformat(timespec="seconds"),
            "client": client,
            "model": model,
            "role": role,
            "reason": verdict.reason,
            "categories": dict(verdict.categories),
            "text": text,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)


def read_blocked(path: Path | None, *, last: int = 200) -> list[Mapping[str, Any]]:
    """The newest turns, newest first; a line that was cut off by a crash is passed over."""
    if path is None or not path.exists():
        return []
    rows: list[Mapping[str, Any]] = []
    for line in reversed(path.read_text(encoding="utf-8", errors="replace").splitlines()):
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
        if len(rows) == last:
            break
    return rows
