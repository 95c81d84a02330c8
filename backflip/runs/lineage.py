"""What a finished or failed run left to read: its record, its neighbours, and what it was made from."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from backflip.errors import CheckpointError, DataError

__all__ = [
    "LOCK",
    "RUN_FILE",
    "Ancestor",
    "Parent",
    "ParentKind",
    "RunRecord",
    "Status",
    "ancestry",
    "find_run",
    "list_runs",
    "producer",
    "read_run",
]

ParentKind = Literal["run", "model", "answers", "data"]
Status = Literal["running", "done", "failed", "interrupted", "killed"]

SCHEMA = 1
RUN_FILE, LOCK = "run.json", "run.lock"
_SNAPSHOTS = ("sha256", "snapshot")  # a parent that has one of these in its detail is known by it, wherever it lies
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parent:
    """Something that a run was made from.

    `ref` is a folder or file, a store's URL (a password in it is masked), or a model's name on a hub. `detail` holds
    what pins it: for answers `{"up_to": N, "withdrawn": k, "snapshot": sha256}`, for files `{"sha256": ...}`.
    """

    kind: ParentKind
    ref: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in get_args(ParentKind):
            raise DataError(f"parent kind is {self.kind!r}; wanted one of {', '.join(get_args(ParentKind))}")
        object.__setattr__(self, "ref", re.sub(r"(://[^:/@]+):[^@/]*@", r"\1:***@", str(self.ref)))

    def identity(self, folder: Path) -> dict[str, Any]:
        """What tells this parent of the run in `folder` from others: a run's fingerprint, a snapshot, or `ref`."""
        known: dict[str, Any] = {"kind": self.kind, "detail": dict(self.detail)}
        path = (folder / self.ref).resolve()
        run = producer(path) if self.kind in ("run", "model") else None
        if run is not None:
            return known | {"run": run.fingerprint, "part": os.path.relpath(path, run.folder)}
        return known if any(name in self.detail for name in _SNAPSHOTS) else known | {"ref": self.ref}


@dataclass(frozen=True)
class RunRecord:
    """A run folder's `run.json`. `status` is "killed" where it says running and no process holds the folder."""

    folder: Path
    name: str
    recipe: str
    status: Status
    fingerprint: str
    config: Mapping[str, Any]
    seed: int
    code: Mapping[str, Any]
    parents: tuple[Parent, ...]
    started: str
    finished: str | None
    seconds: float
    result: Mapping[str, Any]
    error: str | None

    def path_of(self, parent: Parent) -> Path | None:
        """Where a parent lies now, or None where it is no path that exists; refs are relative to the run's folder."""
        path = self.folder / parent.ref
        return path.resolve() if path.exists() else None


@dataclass(frozen=True)
class Ancestor:
    """A node of a family tree: how it is named as a parent, the run that made it if any, and that run's parents."""

    parent: Parent
    run: RunRecord | None
    parents: tuple[Ancestor, ...]


def read_run(folder: Path) -> RunRecord | None:
    """The record in `folder`, or None where there is no `run.json`; raises CheckpointError at a damaged one."""
    path = folder / RUN_FILE
    try:
        data = json.loads(path.read_bytes())
        if data["schema"] != SCHEMA:
            raise CheckpointError(f"{path} has schema {data['schema']}; wanted {SCHEMA}: use the version that wrote it")
        parents = tuple(Parent(p["kind"], p["ref"], p["detail"]) for p in data["parents"])
        status: Status = data["status"]
        if status == "running" and not _held(folder):
            status = "killed"
        kept = {n: data[n] for n in RunRecord.__dataclass_fields__ if n not in ("folder", "parents", "status")}
        return RunRecord(folder=folder, parents=parents, status=status, **kept)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, DataError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); wanted a run's record: delete the folder and run again"
        ) from error


def list_runs(root: Path) -> list[RunRecord]:
    """All runs under `root`, oldest first; a damaged record is passed over with a warning."""
    return sorted(_runs(root), key=lambda run: (run.started, str(run.folder)))


def find_run(root: Path, name: str) -> RunRecord:
    """The run of that folder, or the one under `root` so named: by its path from `root`, or the end of that path.

    Raises DataError when there is none or more than one.
    """
    folder = Path(name)
    if (folder / RUN_FILE).is_file() and (run := read_run(folder)) is not None:
        return run
    runs = list_runs(root)
    wanted = folder.parts
    exact = [r for r in runs if r.folder.relative_to(root).parts == wanted]
    found = exact or [r for r in runs if wanted and r.folder.parts[-len(wanted) :] == wanted]
    if len(found) != 1:
        known = ", ".join(r.folder.relative_to(root).as_posix() for r in found or runs) or "none"
        raise DataError(f"{len(found)} runs under {root} are named {name!r}; wanted one of: {known}")
    return found[0]


def producer(path: Path) -> RunRecord | None:
    """The run that made a folder or file: its own `run.json`, or that of the folder above; None if it is not there.

    A hub's name is no path, and must not find the run of the folder that it happens to be read in.
    """
    if not path.exists():
        return None
    for folder in (path, path.parent):
        if (run := read_run(folder)) is not None:
            return run
    return None


def ancestry(run: RunRecord) -> tuple[Ancestor, ...]:
    """The run's parents, each with its own, as far as their folders are still there."""
    return _ancestors(run, (run.folder.resolve(),))


def _ancestors(run: RunRecord, above: tuple[Path, ...]) -> tuple[Ancestor, ...]:
    return tuple(_ancestor(run, parent, above) for parent in run.parents)


def _ancestor(run: RunRecord, parent: Parent, above: tuple[Path, ...]) -> Ancestor:
    path = run.path_of(parent) if parent.kind in ("run", "model") else None
    maker = producer(path) if path is not None else None
    if maker is None or maker.folder.resolve() in above:
        return Ancestor(parent, None, ())
    return Ancestor(parent, maker, _ancestors(maker, (*above, maker.folder.resolve())))


def _runs(root: Path) -> Iterator[RunRecord]:
    for path in root.rglob(RUN_FILE):
        try:
            if not path.parent.name.startswith(".") and (run := read_run(path.parent)) is not None:
                yield run
        except CheckpointError as error:
            _log.warning("%s", error)


def _held(folder: Path) -> bool:
    """Whether a living process works in the folder: it holds the lock."""
    try:
        with (folder / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
