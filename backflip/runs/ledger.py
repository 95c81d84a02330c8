"""The run folder: one stage of work, from its first line of configuration to its result or its error.

`run.json` holds all of it and is replaced as a whole at every change of status; `run.lock` keeps a second process out,
and is free as soon as its holder dies, however it dies. The same configuration in the same folder goes on or is done;
another one is refused.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backflip.config import differences, dump, fingerprint
from backflip.errors import BackflipError, CheckpointError, LabellingPaused, OutOfSpace
from backflip.runs.files import atomic_write_json, sweep_partial
from backflip.runs.lineage import LOCK, RUN_FILE, SCHEMA, Parent, RunRecord, Status, read_run
from backflip.runs.metrics import MetricsWriter
from backflip.runs.version import code_version

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Run", "open_run"]


class Run:
    """An open run folder; made by `open_run`.

    `done` is true when the same work was finished before: return `result` and do nothing. `fingerprint` covers recipe,
    seed, configuration and parents: give it to the checkpoints.
    """

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self._earlier, self._clock = record.seconds, time.monotonic()

    @property
    def folder(self) -> Path:
        return self.record.folder

    @property
    def fingerprint(self) -> str:
        return self.record.fingerprint

    @property
    def done(self) -> bool:
        return self.record.status == "done"

    @property
    def result(self) -> Mapping[str, Any]:
        """What `finish` was given, now or by the process that finished this run."""
        return self.record.result

    @cached_property
    def metrics(self) -> MetricsWriter:
        """The writer of this folder's metrics; closed with the run."""
        return MetricsWriter(self.folder)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Marks the run done with its result (JSON values without NaN; else TypeError or ValueError, and not done)."""
        self.mark("done", result=json.loads(json.dumps(result, allow_nan=False)))

    def mark(self, status: Status, *, result: Mapping[str, Any] | None = None, error: str | None = None) -> None:
        """Writes the record anew with another status."""
        seconds = round(self._earlier + time.monotonic() - self._clock, 3)
        finished = None if status == "running" else _now()
        changed = replace(
            self.record, status=status, finished=finished, seconds=seconds, result=result or {}, error=error
        )
        fields = {n: getattr(changed, n) for n in RunRecord.__dataclass_fields__ if n not in ("folder", "parents")}
        parents = [asdict(p) for p in changed.parents]
        atomic_write_json(self.folder / RUN_FILE, {"schema": SCHEMA, **fields, "parents": parents})
        self.record = changed


@contextmanager
def open_run(
    folder: Path,
    *,
    recipe: str,
    config: DataclassInstance,
    seed: int,
    parents: Sequence[Parent] = (),
    root: Path | None = None,
) -> Iterator[Run]:
    """Opens or takes up the run in `folder`; the block must end with `run.finish(result)`, unless `run.done`.

    An exception marks the run failed, a pause or Ctrl-C interrupted, and goes on its way. Parents that are paths within
    `root` (default: the working folder) are recorded relative to `folder`, so that the whole can be moved. With several
    ranks, rank 0 alone opens the run.

    Raises CheckpointError when the folder is of other work, or another living process works in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        sweep_partial(folder)
        record = _record(folder, recipe, config, seed, parents, root or Path.cwd())
        earlier = read_run(folder)
        if earlier is not None:
            _refuse_other_work(earlier, record, config)
            record = replace(record, started=earlier.started, seconds=earlier.seconds)
        if earlier is not None and earlier.status == "done":
            yield Run(earlier)
            return
        yield from _work(Run(record))


def _work(run: Run) -> Iterator[Run]:
    run.mark("running")
    try:
        yield run
        if not run.done:
            raise CheckpointError(
                f"recipe {run.record.recipe} left {run.folder} without a result; wanted run.finish(...)"
            )
    except (KeyboardInterrupt, LabellingPaused) as pause:
        _mark_if_possible(run, "interrupted", str(pause) or "interrupted from the keyboard")
        raise
    except BaseException as error:
        known = isinstance(error, BackflipError)
        _mark_if_possible(run, "failed", str(error) if known else f"{type(error).__name__}: {error}")
        raise
    finally:
        run.metrics.close()


def _mark_if_possible(run: Run, status: Status, error: str) -> None:
    """A disk too full for the record must not hide the error that the record would tell of."""
    with suppress(OSError, OutOfSpace):
        run.mark(status, error=error)


def _record(
    folder: Path, recipe: str, config: DataclassInstance, seed: int, parents: Sequence[Parent], root: Path
) -> RunRecord:
    placed = tuple(_placed(p, folder, root) for p in parents)
    return RunRecord(
        folder=folder,
        name=folder.name,
        recipe=recipe,
        status="running",
        fingerprint=fingerprint(config, recipe, seed, [p.identity(folder) for p in placed]),
        config=dump(config),
        seed=seed,
        code=code_version(),
        parents=placed,
        started=_now(),
        finished=None,
        seconds=0.0,
        result={},
        error=None,
    )


def _placed(parent: Parent, folder: Path, root: Path) -> Parent:
    path = Path(parent.ref)
    if not path.exists():
        return parent
    path = path.resolve()
    inside = path.is_relative_to(root.resolve()) and folder.resolve().is_relative_to(root.resolve())
    return replace(parent, ref=os.path.relpath(path, folder.resolve()) if inside else str(path))


def _refuse_other_work(earlier: RunRecord, record: RunRecord, config: DataclassInstance) -> None:
    if earlier.fingerprint == record.fingerprint:
        return
    free = differences(dump(config), dump(config, only_fingerprinted=True))
    found = differences(_identity(earlier), _identity(record))
    named = {n.removeprefix("config."): v for n, v in found.items() if n.removeprefix("config.") not in free}
    listed = "; ".join(f"{name} is {seen!r} there, wanted {wanted!r}" for name, (seen, wanted) in named.items())
    raise CheckpointError(
        f"{record.folder} holds a run of other work: {listed or 'a parent was made anew since'}: "
        f"choose another folder, or delete this one to start again"
    )


def _identity(record: RunRecord) -> dict[str, Any]:
    parents = {
        f"parent {i}": " ".join([p.kind, p.ref, *(f"{name}={value}" for name, value in p.detail.items())])
        for i, p in enumerate(record.parents)
    }
    return {"recipe": record.recipe, "seed": record.seed, "config": record.config, **parents}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The lock goes with the process, so a killed run leaves none behind."""
    with (folder / LOCK).open("a+") as lock:
        for attempt in range(5):  # a reader that asks whether the folder is held holds it for a moment
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if attempt == 4:
                    lock.seek(0)
                    raise CheckpointError(
                        f"process {lock.read().strip() or 'unknown'} works in {folder}; wanted the folder to itself: "
                        f"wait until it ends, or choose another folder"
                    ) from error
                time.sleep(0.05)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
