"""What was saved comes back bit for bit; what was torn or damaged never does."""

from __future__ import annotations

import json
import logging
import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backflip.errors import CheckpointError, OutOfSpace
from backflip.runs.checkpoint import load_latest, restore_rng, rng_state, save

STATE: dict[str, Any] = {
    "tensor": torch.tensor([1.0, float("nan"), -0.0]),
    "nested": {"half": torch.arange(3, dtype=torch.bfloat16), "steps": 3, "beta": 0.1, "name": "x", "raw": b"\x00\xff"},
    "list": [1, (2, None, True)],
}


def test_state_comes_back(tmp_path: Path) -> None:
    assert load_latest(tmp_path / "none", fingerprint="f") is None
    save(tmp_path, 7, STATE, fingerprint="f")
    loaded = load_latest(tmp_path, fingerprint="f")
    assert loaded is not None
    assert loaded.step == 7
    assert torch.equal(loaded.state.pop("tensor").view(torch.int32), STATE["tensor"].view(torch.int32))
    assert torch.equal(loaded.state["nested"].pop("half"), STATE["nested"]["half"])
    assert loaded.state == {"nested": {"steps": 3, "beta": 0.1, "name": "x", "raw": b"\x00\xff"}, "list": STATE["list"]}


def test_an_optimizer_comes_back(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2)).sum().backward()
    optimizer.step()
    save(tmp_path, 1, {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, fingerprint="f")
    loaded = load_latest(tmp_path, fingerprint="f")
    assert loaded is not None
    fresh = torch.optim.AdamW(model.parameters())
    fresh.load_state_dict(loaded.state["optimizer"])
    assert all(torch.equal(fresh.state[p]["exp_avg"], optimizer.state[p]["exp_avg"]) for p in model.parameters())
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in loaded.state["model"].items())


@pytest.mark.parametrize("value", [np.float64(1.0), np.zeros(2), {1, 2}, Path("x"), object()])
def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path, value: Any) -> None:
    with pytest.raises(TypeError, match=r"state\['a'\]\[1\] is a "):
        save(tmp_path, 1, {"a": [0, value]}, fingerprint="f")
    assert not list(tmp_path.iterdir())


def test_the_newest_are_kept_and_a_left_future_goes(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        save(tmp_path, step, {"s": step}, fingerprint="f", keep=2)
    assert _steps(tmp_path) == [3, 10]
    save(tmp_path, 4, {"s": 4}, fingerprint="f", keep=2)  # resumed from 3
    assert _steps(tmp_path) == [3, 4]
    save(tmp_path, 4, {"s": 5}, fingerprint="f", keep=2)  # the same step again, with another content
    assert _steps(tmp_path) == [3, 4]
    assert load_latest(tmp_path, fingerprint="f") == (4, {"s": 5})


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "note cut", "note empty", "note list"])
def test_a_damaged_newest_falls_back(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path, 1, {"s": torch.ones(10)}, fingerprint="f")
    newest = save(tmp_path, 2, {"s": torch.ones(10)}, fingerprint="f")
    _damage(newest, damage)
    with caplog.at_level(logging.WARNING):
        loaded = load_latest(tmp_path, fingerprint="f")
    assert loaded is not None
    assert loaded.step == 1
    assert "step-000000002 is damaged" in caplog.text
    save(tmp_path, 2, {"s": 2}, fingerprint="f")  # and the run goes on over the damage
    assert load_latest(tmp_path, fingerprint="f") == (2, {"s": 2})


def test_all_damaged_is_an_error_not_a_silent_start_from_nothing(tmp_path: Path) -> None:
    for step in (1, 2):
        _damage(save(tmp_path, step, {"s": step}, fingerprint="f"), "flip")
    with pytest.raises(CheckpointError, match=r"all 2 checkpoints in .* are damaged; wanted a whole one"):
        load_latest(tmp_path, fingerprint="f")


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1, {}, fingerprint="a" * 64)
    with pytest.raises(CheckpointError, match=r"of configuration aaaaaaaaaaaa; wanted bbbbbbbbbbbb: .* another folder"):
        load_latest(tmp_path, fingerprint="b" * 64)


def test_a_file_that_runs_code_is_not_run(tmp_path: Path) -> None:
    # A stranger's file with a right checksum: the safe loader refuses the call that a pickle may hold.
    data = save(tmp_path, 1, {}, fingerprint="f")
    torch.save({"x": _Harmful()}, data)
    note = tmp_path / "step-000000001.json"
    digest = subprocess.run(["sha256sum", data], capture_output=True, text=True, check=True).stdout.split()[0]
    note.write_text(json.dumps(json.loads(note.read_text()) | {"sha256": digest}))
    with pytest.raises(CheckpointError, match="damaged"):
        load_latest(tmp_path, fingerprint="f")
    assert "BACKFLIP_HARMED" not in os.environ


class _Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.putenv, ("BACKFLIP_HARMED", "1")


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_full_device_ends_in_out_of_space(tmp_path: Path, size: int) -> None:
    save(tmp_path, 1, {"s": torch.zeros(3)}, fingerprint="f")
    (tmp_path / f".step-000000002.pt.{os.getpid()}.partial").symlink_to("/dev/full")
    with pytest.raises(OutOfSpace, match=r"step-000000002\.pt: No space left on device"):
        save(tmp_path, 2, {"s": torch.zeros(size)}, fingerprint="f")
    assert _steps(tmp_path) == [1]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_limit_on_the_file_ends_in_out_of_space(tmp_path: Path) -> None:
    save(tmp_path, 1, {"s": torch.zeros(3)}, fingerprint="f")
    with _file_limit(50_000), pytest.raises(OutOfSpace, match="File too large"):
        save(tmp_path, 2, {"s": torch.zeros(100_000)}, fingerprint="f")
    assert _steps(tmp_path) == [1]
    assert len(list(tmp_path.iterdir())) == 2


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from backflip.runs.checkpoint import load_latest, save

folder, draw = Path(sys.argv[1]), random.Random(0)
torn = 0
for step in range(1, 6):
    began = time.monotonic()
    save(folder, step, {"s": step, "t": torch.full((20_000,), float(step))}, fingerprint="f", keep=1)
reached, one = 5, time.monotonic() - began
for trial in range(15):
    child = os.fork()
    if child == 0:
        for step in range(reached + 1, 10**6):
            save(folder, step, {"s": step, "t": torch.full((20_000,), float(step))}, fingerprint="f", keep=1)
    time.sleep(draw.uniform(one, 4 * one))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    torn += any(p.name.endswith(".partial") for p in folder.iterdir())
    loaded = load_latest(folder, fingerprint="f")
    assert loaded.step >= reached and loaded.state["s"] == loaded.step
    assert torch.equal(loaded.state["t"], torch.full((20_000,), float(loaded.step)))
    reached = loaded.step
save(folder, reached + 1, {}, fingerprint="f", keep=1)
print(reached, torn, len(list(folder.iterdir())))
"""


def test_sigkill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "c")],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    reached, torn, files = map(int, done.stdout.split())
    assert reached > 5
    assert torn > 0  # some kills did hit the middle of a save, or this test proves nothing
    assert files == 2  # a note and its file: what the killed left is swept


def test_random_state_comes_back(tmp_path: Path) -> None:
    before = rng_state()
    try:
        random.gauss(0, 1)  # leaves a second draw in store: part of the state
        np.random.standard_normal()  # noqa: NPY002
        save(tmp_path, 1, {"rng": rng_state()}, fingerprint="f")
        first = _draws()
        loaded = load_latest(tmp_path, fingerprint="f")
        assert loaded is not None
        restore_rng(loaded.state["rng"])
        assert _draws() == first
        assert _draws() != first
        with pytest.raises(CheckpointError, match="random state of 9 GPUs"):
            restore_rng({**rng_state(), "cuda": [torch.zeros(1)] * 9})
    finally:
        restore_rng(before)


def _draws() -> list[float]:
    return [random.gauss(0, 1), float(np.random.standard_normal()), *torch.randn(3).tolist()]  # noqa: NPY002


def _steps(folder: Path) -> list[int]:
    notes = sorted(folder.glob("*.json"))
    files = {json.loads(n.read_text())["file"] for n in notes}
    assert files == {p.name for p in folder.glob("*.pt")}
    return [json.loads(n.read_text())["step"] for n in notes]


def _damage(data: Path, how: str) -> None:
    note = data.with_name(data.name.rpartition("-")[0] + ".json")
    content = bytearray(data.read_bytes())
    if how == "flip":
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
    elif how == "cut":
        data.write_bytes(content[: len(content) // 2])
    elif how == "gone":
        data.unlink()
    else:
        note.write_text({"note cut": note.read_text()[:30], "note empty": "", "note list": "[]"}[how])


@contextmanager
def _file_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
