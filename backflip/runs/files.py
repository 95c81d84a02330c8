"""Files and folders that appear whole or not at all, whatever kills the process or fills the disk.

Everything is written under a hidden sibling name that ends in `.partial`, brought to the disk (fsync), and renamed.
What a killed process left under such a name is swept away by the next writer.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from backflip.errors import OutOfSpace

__all__ = [
    "atomic_file",
    "atomic_folder",
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_text",
    "refuse_full_disk",
    "replace_folder",
    "sha256_of",
    "sweep_partial",
]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the user's quota, the limit on one file


@contextmanager
def refuse_full_disk(path: Path) -> Iterator[None]:
    """Turns "no space left on device" and its like into OutOfSpace; every other error passes."""
    try:
        yield
    except Exception as error:
        number = _system_error(error)
        if number not in _FULL:
            raise
        raise OutOfSpace(
            f"cannot write {path}: {os.strerror(number)}; nothing half-written was left there: free some space "
            f"(or choose another folder) and start the same command again"
        ) from error


def _system_error(error: Exception) -> int:
    """The system's number of an error, 0 if it has none; libraries in Rust (safetensors) tell it in words alone."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else 0


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write to, which takes the name `path` when the block ends without error, and is gone otherwise.

    Raises OutOfSpace when the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    with refuse_full_disk(path):
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            _sync_folder(path.parent)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def atomic_write_bytes(path: Path, content: bytes) -> None:
    """Replaces the file as a whole; raises OutOfSpace when the disk is full."""
    with atomic_file(path) as file:
        file.write(content)


def atomic_write_text(path: Path, content: str) -> None:
    """`atomic_write_bytes` of UTF-8."""
    atomic_write_bytes(path, content.encode())


def atomic_write_json(path: Path, content: Mapping[str, Any]) -> None:
    """`atomic_write_bytes` of indented JSON; NaN and infinity are refused (ValueError), as JSON has none."""
    atomic_write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the name `path` when the block ends without error, and is gone otherwise.

    A folder that stood there is replaced: between two renames neither is there, but never half of one.
    Raises OutOfSpace when the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_partial(path.parent)
    partial = _partial(path)
    _remove(partial)
    with refuse_full_disk(path):
        try:
            partial.mkdir()
            yield partial
            _sync_tree(partial)
            replace_folder(partial, path)
        except BaseException:
            _remove(partial)
            raise


def replace_folder(source: Path, path: Path) -> None:
    """Renames `source`, a sibling, to `path`; a folder that stood there is gone after."""
    old = _partial(path.with_name(f"{path.name}.old"))
    try:
        if path.exists():
            path.replace(old)
        source.replace(path)
        _sync_folder(path.parent)
    finally:
        _remove(old)


def sha256_of(*files: Path) -> str:
    """The sha256 (hex) of the files' contents, one after the other; OSError where one cannot be read."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def sweep_partial(folder: Path) -> None:
    """Removes what killed processes left half-written in `folder`; the partial files of living ones stay."""
    for leftover in folder.glob(".*.partial"):
        process = leftover.name.split(".")[-2]
        if process.isdigit() and not _alive(int(process)):
            _remove(leftover)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """A rename is on the disk only when the folder that holds the name is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        elif path.is_dir():
            _sync_folder(path)
    _sync_folder(folder)
