"""A file or folder is there whole or not at all, also when the block fails, the disk is full or the process died."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from backflip.errors import OutOfSpace
from backflip.runs.files import (
    atomic_file,
    atomic_folder,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    refuse_full_disk,
    sweep_partial,
)


def test_content_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    atomic_write_json(path, {"é": 1})
    assert path.read_text(encoding="utf-8") == '{\n  "é": 1\n}\n'
    atomic_write_text(path, "text")
    atomic_write_bytes(path, b"bytes")
    assert path.read_bytes() == b"bytes"
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_a_failed_block_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    atomic_write_text(path, "old")

    def write() -> None:
        with atomic_file(path) as file:
            file.write(b"half")
            raise KeyError("x")

    with pytest.raises(KeyError):
        write()
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic_write_json(path, {"x": float("nan")})
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for content in ("first", "second"):
        with atomic_folder(path) as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / content).write_text(content)
            assert not list(path.glob(f"sub/{content}"))
    assert [p.name for p in path.rglob("*")] == ["sub", "second"]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with atomic_folder(path) as folder:
        (folder / "whole").touch()

    def fill() -> None:
        with atomic_folder(path) as folder:
            (folder / "half").touch()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutOfSpace, match=r"model: No space left on device; .*free some space"):
        fill()
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["model", "model/whole"]


def test_a_really_full_device_is_out_of_space_and_other_errors_pass(tmp_path: Path) -> None:
    # /dev/full answers every write with ENOSPC; the link stands where the partial file would be made.
    path = tmp_path / "a"
    path.with_name(f".a.{os.getpid()}.partial").symlink_to("/dev/full")
    with pytest.raises(OutOfSpace):
        atomic_write_bytes(path, b"x")
    assert not list(tmp_path.iterdir())
    with pytest.raises(PermissionError), refuse_full_disk(path):
        raise PermissionError(errno.EACCES, "no")


def test_leftovers_of_dead_processes_are_swept_and_of_living_ones_kept(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()
    (tmp_path / f".file.{child.pid}.partial").touch()
    (tmp_path / f".folder.{child.pid}.partial").mkdir()
    (tmp_path / f".folder.{child.pid}.partial" / "x").touch()
    (tmp_path / f".mine.{os.getpid()}.partial").touch()
    (tmp_path / ".strange.partial").touch()
    sweep_partial(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".mine.{os.getpid()}.partial", ".strange.partial"]
