"""Metrics are returned by a recipe and written here: one JSON line a step first, TensorBoard where it is installed."""

from __future__ import annotations

import functools
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from backflip.errors import TrainingDiverged
from backflip.runs.files import atomic_write_bytes, refuse_full_disk

__all__ = ["MetricsWriter", "read_metrics", "require_finite"]

_log = logging.getLogger(__name__)


def require_finite(step: int, metrics: Mapping[str, float]) -> None:
    """Raises TrainingDiverged that names the first metrics which are NaN or infinite."""
    bad = {name: value for name, value in metrics.items() if not math.isfinite(value)}
    if bad:
        named = ", ".join(f"{name} is {value}" for name, value in list(bad.items())[:3])
        raise TrainingDiverged(
            f"at step {step} {named}; wanted finite numbers: lower the learning rate or the clip range "
            f"and start in another folder; the last checkpoint is from before this step"
        )


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, oldest first; a last line that a killed process tore is left out."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in _whole_lines(path)] if path.exists() else []


class MetricsWriter:
    """Appends to `metrics.jsonl` in `folder`, and to TensorBoard's events beside it.

    Each line is handed to the system at once, so a killed process loses none; NaN and infinity are written as null.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = True) -> None:
        self._path, self._folder, self._tensorboard = folder / "metrics.jsonl", folder, tensorboard
        self._first_step: int | None = None
        self._events: Any = None

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line, `{"step": step, **metrics}`; raises OutOfSpace when the disk is full."""
        values = {name: float(value) for name, value in metrics.items()}
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = json.dumps({"step": step, **finite}, allow_nan=False) + "\n"
        with refuse_full_disk(self._path), self._path.open("ab") as file:
            file.write(line.encode())
        if self._tensorboard and (events := self._open_events()) is not None:
            for name, value in values.items():
                events.add_scalar(name, value, step)

    def truncate(self, after_step: int) -> None:
        """Drops the lines of steps after `after_step`: a resumed run writes them again, and none stands twice."""
        self.close()
        self._first_step = after_step + 1
        if self._path.exists():
            kept = [line for line in _whole_lines(self._path) if json.loads(line)["step"] <= after_step]
            atomic_write_bytes(self._path, b"".join(kept))

    def close(self) -> None:
        """Brings TensorBoard's events to the disk; `write` opens them again."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_events(self) -> Any:
        writer = _summary_writer()
        if self._events is None and writer is not None:
            self._events = writer(str(self._folder / "tensorboard"), purge_step=self._first_step)
        return self._events


@functools.cache
def _summary_writer() -> Any:
    """TensorBoard's writer class, or None, which is said once."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _log.warning(
            "tensorboard is not installed: metrics go to metrics.jsonl alone (pip install 'backflip[tensorboard]')"
        )
        return None
    return SummaryWriter


def _whole_lines(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
