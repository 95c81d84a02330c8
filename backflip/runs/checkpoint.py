"""Checkpoints that survive SIGKILL, a full disk and a flipped bit; and the random state that belongs in them.

A checkpoint is a `torch.save` file named by its step and content, and a note beside it (JSON: step, file, sha256,
fingerprint) that is written last. A file without a note does not count, so a torn save is never taken for a whole one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import random
import shutil
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from backflip.errors import CheckpointError
from backflip.runs.files import atomic_file, atomic_write_json, sweep_partial

__all__ = ["Checkpoint", "discard", "load_latest", "restore_rng", "rng_state", "save"]

_LEAVES = (bool, int, float, str, bytes, type(None))
_log = logging.getLogger(__name__)


class Checkpoint(NamedTuple):
    """What was saved after `step`; its tensors are on the CPU."""

    step: int
    state: dict[str, Any]


def save(folder: Path, step: int, state: Mapping[str, Any], *, fingerprint: str, keep: int = 2) -> Path:
    """Saves a nested dict of tensors, numbers, strings and bytes; keeps the newest `keep`; gives the file's path.

    Checkpoints of later steps are dropped: they belong to a future that a resumed run has left.
    Raises OutOfSpace when the disk is full (earlier checkpoints stand), TypeError at a value that could not be loaded.
    """
    state = dict(state)
    _check(state, "state")
    folder.mkdir(parents=True, exist_ok=True)
    sweep_partial(folder)
    unnamed = folder / f"step-{step:09d}.pt"
    with atomic_file(unnamed) as file:
        sink = _Hashing(file)
        _write(state, sink)
    data = unnamed.replace(folder / f"step-{step:09d}-{sink.sha256.hexdigest()[:12]}.pt")
    digest = {"file": data.name, "sha256": sink.sha256.hexdigest()}
    atomic_write_json(
        folder / f"step-{step:09d}.json", {"version": 1, "step": step, "fingerprint": fingerprint, **digest}
    )
    _prune(folder, step, keep)
    return data


def load_latest(folder: Path, *, fingerprint: str) -> Checkpoint | None:
    """The newest whole checkpoint, or None where none was saved; a damaged one is passed over with a warning.

    Raises CheckpointError when the checkpoints are of another configuration, or when every one is damaged.
    """
    notes = sorted(folder.glob("step-*.json"), reverse=True)
    for path in notes:
        try:
            note = _read_note(path)
            _check_fingerprint(folder, seen=note["fingerprint"], wanted=fingerprint)
            return Checkpoint(int(note["step"]), _read(folder / str(note["file"]), note["sha256"]))
        except _DamagedError as damage:
            _log.warning("checkpoint %s is damaged (%s); falling back to the one before", path.stem, damage)
    if notes:
        raise CheckpointError(
            f"all {len(notes)} checkpoints in {folder} are damaged; wanted a whole one: delete it to start again"
        )
    return None


def discard(folder: Path) -> None:
    """Drops the checkpoints of a run that is done: several times the weights, and nothing goes on from them."""
    shutil.rmtree(folder, ignore_errors=True)


def rng_state() -> dict[str, Any]:
    """The state of Python's, numpy's and torch's global generators (CUDA's too), as `save` can hold it."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002  libraries draw from it
    return {
        "python": random.getstate(),
        "numpy": (str(name), [int(k) for k in keys], int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_rng(state: Mapping[str, Any]) -> None:
    """Sets the generators as `rng_state` found them; raises CheckpointError when the number of GPUs changed."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if len(state["cuda"]) != gpus:
        raise CheckpointError(
            f"the checkpoint holds the random state of {len(state['cuda'])} GPUs and this machine has {gpus}; "
            f"wanted the same number: resume on such a machine, or start again in another folder"
        )
    random.setstate(state["python"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if gpus:
        torch.cuda.set_rng_state_all(state["cuda"])


class _DamagedError(Exception):
    """This checkpoint cannot be used, and the one before it may be."""


class _Hashing:
    """A file that takes its own checksum while it is written, and remembers why a write failed."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sha256 = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            written = self.file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.sha256.update(data)
        return written

    def flush(self) -> None:
        self.file.flush()


def _write(state: Mapping[str, Any], sink: _Hashing) -> None:
    try:
        torch.save(state, sink)  # type: ignore[arg-type]  # it asks for write and flush alone
    except RuntimeError as error:
        # torch's zip writer reports a failed write as its own error; the true reason is a full disk or the like.
        raise sink.error or error from error


def _read_note(path: Path) -> dict[str, Any]:
    try:
        note = json.loads(path.read_bytes())
        return {name: note[name] for name in ("step", "file", "sha256", "fingerprint")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _DamagedError(f"its note is unreadable: {error}") from error


def _read(path: Path, sha256: str) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            seen = hashlib.file_digest(file, "sha256").hexdigest()
            if seen != sha256:
                raise _DamagedError(f"{path.name} has sha256 {seen[:12]}, wanted {sha256[:12]}")
            file.seek(0)
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            return state
    except OSError as error:
        raise _DamagedError(str(error)) from error
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise _DamagedError(f"{path.name} is not a file of plain tensors and values") from error


def _check_fingerprint(folder: Path, *, seen: str, wanted: str) -> None:
    if seen != wanted:
        raise CheckpointError(
            f"the checkpoints in {folder} are of configuration {seen[:12]}; wanted {wanted[:12]}: "
            f"give back the first configuration, choose another folder, or delete this one"
        )


def _prune(folder: Path, step: int, keep: int) -> None:
    """Notes first, then the files that no note names: a note never outlives its file."""
    notes = sorted(folder.glob("step-*.json"), reverse=True)
    kept = [p for p in notes if int(p.stem.removeprefix("step-")) <= step][: max(keep, 1)]
    named = set()
    for path in kept:
        with suppress(_DamagedError):
            named.add(_read_note(path)["file"])
    for path in [*(set(notes) - set(kept)), *(p for p in folder.glob("step-*.pt") if p.name not in named)]:
        path.unlink()


def _check(value: Any, path: str) -> None:
    """Exact types: a numpy float is a float to Python, and is refused by a safe load."""
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            _check(key, f"a key of {path}")
            _check(item, f"{path}[{key!r}]")
    elif type(value) in (list, tuple):
        for i, item in enumerate(value):
            _check(item, f"{path}[{i}]")
    elif not (isinstance(value, Tensor) or type(value) in _LEAVES):
        raise TypeError(
            f"{path} is a {type(value).__name__}; wanted a tensor, number, text, bytes, dict, list or tuple"
        )
