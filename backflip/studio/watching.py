"""Runs as the pages show them: their records, thinned curves, texts, and what has changed since a look."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from backflip.errors import CheckpointError
from backflip.runs.lineage import RUN_FILE, RunRecord, read_run
from backflip.runs.texts import TEXTS
from backflip.studio.events import Event
from backflip.studio.refusals import NotFound
from backflip.studio.tail import Mark, lines_after

__all__ = ["METRICS", "REPORTS", "changes", "curves", "facts", "find", "glance", "glance_all", "headline", "name_of"]

METRICS = "metrics.jsonl"
REPORTS = ("report.html", "reports/report.html")
_POINTS = 2000  # of a curve; a screen is not wider

# What says most of how a run ended or stands, by recipe: the first that it has.
_HEADLINES = {
    "ppo": ("judge/score", "objective/score"),
    "reward": ("reward/held_out_accuracy", "reward/accuracy"),
    "sft": ("sft/validation_loss", "sft/loss"),
    "control": ("control/answers", "control/reward"),
    "control_processes": ("control/answers",),
}


def find(root: Path, name: str) -> RunRecord:
    """The run of this name, its path below `root`; NotFound for everything else, whatever it points to."""
    folder = (root / name.replace("\0", "?")).resolve()
    hidden = any(part.startswith(".") for part in Path(name).parts)
    try:
        record = read_run(folder) if not hidden and folder.is_relative_to(root.resolve()) else None
    except CheckpointError as error:
        raise NotFound(str(error)) from error
    if record is None:
        raise NotFound(f"there is no run {name[:200]!r} here: it was moved or deleted, or never was")
    return record


def name_of(root: Path, folder: Path) -> str | None:
    """The name by which `find` finds a run's folder; None where it lies elsewhere."""
    folder, root = folder.resolve(), root.resolve()
    return folder.relative_to(root).as_posix() if folder.is_relative_to(root) else None


def glance(folder: Path) -> Hashable:
    """Another value whenever the run has got on, at the price of a few stats."""
    sizes = tuple(_stat(folder / name) for name in (METRICS, TEXTS, RUN_FILE))
    try:
        record = read_run(folder)
    except CheckpointError:
        return sizes
    return (*sizes, record.status if record else "")


def glance_all(root: Path, runs: Sequence[RunRecord]) -> Hashable:
    """The same of a list of runs, in one value."""
    return tuple((str(run.folder.relative_to(root)), run.status, _stat(run.folder / METRICS)) for run in runs)


def _stat(path: Path) -> tuple[int, int, int]:
    try:
        about = path.stat()
    except OSError:
        return (0, 0, 0)
    return (about.st_ino, about.st_size, about.st_mtime_ns)


def curves(folder: Path) -> dict[str, Any]:
    """The metrics by name, at most so many points each, and the mark after which `changes` goes on.

    Thinning keeps the first and the last line and each line that is the only one to have some metric.
    """
    lines, mark, more = [], Mark(), True
    while more:
        tail = lines_after(folder / METRICS, mark)
        lines += [] if not tail.lines else tail.lines
        mark, more = tail.mark, tail.more
    rows = [json.loads(line) for line in lines]
    steps = [row["step"] for row in rows]
    series: dict[str, Any] = {}
    for name in sorted({name for row in rows for name in row if name != "step"}):
        points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        series |= {name: _thin(points)} if points else {}
    return {"series": series, "last": steps[-1] if steps else None, "mark": str(mark)}


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) <= _POINTS:
        return points
    every = -(-len(points) // _POINTS)
    return [point for i, point in enumerate(points) if i % every == 0 or i == len(points) - 1]


def changes(root: Path, name: str, last: str) -> list[Event]:
    """The events since the id `last`: new lines of metrics, new texts, and how the run stands."""
    record = find(root, name)
    old_metrics, old_texts, old_state = _marks(last)
    events: list[Event] = []
    metrics, texts = lines_after(record.folder / METRICS, old_metrics), lines_after(record.folder / TEXTS, old_texts)
    anew = metrics.anew or texts.anew  # a resumed run has cut both back: all of both again
    if anew:
        metrics, texts = lines_after(record.folder / METRICS, Mark()), lines_after(record.folder / TEXTS, Mark())
    state = f"{record.status}.{_stat(record.folder / RUN_FILE)[2]}"
    done = f"{metrics.mark}_{texts.mark}_{state}"
    if anew:
        events.append(Event("anew", "{}"))
    if metrics.lines:
        events.append(Event("metrics", f"[{','.join(metrics.lines)}]"))
    if texts.lines:
        events.append(Event("texts", f"[{','.join(texts.lines)}]"))
    if state != old_state:
        events.append(Event.of("state", facts(root, record)))
    if events:  # the id comes with the last: who loses the line in between gets all of it again
        events[-1] = events[-1]._replace(id=done)
    return events + (changes(root, name, done) if metrics.more or texts.more else [])


def _marks(last: str) -> tuple[Mark, Mark, str]:
    metrics, texts, state = (*last.split("_", 2), "", "", "")[:3]
    return Mark.parse(metrics), Mark.parse(texts), state


def facts(root: Path, record: RunRecord) -> dict[str, Any]:
    """What a list of runs says of one."""
    return {
        "name": name_of(root, record.folder),
        "recipe": record.recipe,
        "status": record.status,
        "started": record.started,
        "finished": record.finished,
        "seconds": record.seconds + _under_way(record),
        "error": record.error,
        "headline": headline(record),
        "report": any((record.folder / path).is_file() for path in REPORTS),
    }


def _under_way(record: RunRecord) -> float:
    """Seconds since a run that works was last written down, at its beginning."""
    written = _stat(record.folder / RUN_FILE)[2] / 1e9
    return max(0.0, time.time() - written) if record.status == "running" and written else 0.0


def headline(record: RunRecord) -> dict[str, Any] | None:
    """The metric that says most, its last value and its step; None where nothing is written yet."""
    last = _last_line(record.folder / METRICS)
    row = json.loads(last) if last else {}
    known = [name for name in row if name != "step" and not name.startswith("time/") and row[name] is not None]
    first = next((name for name in _HEADLINES.get(record.recipe, ()) if name in known), None) or next(iter(known), None)
    return {"name": first, "value": row[first], "step": row["step"]} if first else None


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 16384))
            found = file.read()
    except OSError:
        return ""
    whole = found[: found.rfind(b"\n")]
    return whole[whole.rfind(b"\n") + 1 :].decode(errors="replace")
