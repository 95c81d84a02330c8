"""A run folder is one piece of work: begun, gone on with, finished once, and refused to any other."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import backflip
from backflip.config import NOT_FINGERPRINTED
from backflip.errors import CheckpointError, DataError, LabellingPaused, ModelError, OutOfSpace
from backflip.runs import Parent, Run, open_run, read_run


@dataclass(frozen=True)
class Config:
    lr: float = 0.1
    name: str = "x"
    log_every: int = field(default=1, metadata=NOT_FINGERPRINTED)


def work(folder: Path, config: Config = Config(), **changes: Any) -> Run:
    given: dict[str, Any] = {"recipe": "sft", "seed": 3, **changes}
    with open_run(folder, config=config, **given) as run:
        if not run.done:
            run.metrics.write(1, {"loss": 1.0})
            run.finish({"loss": 0.5, "pair": (1, 2)})
    return run


def raw(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return data


def test_the_record_holds_everything(tmp_path: Path) -> None:
    folder = tmp_path / "sft"
    with open_run(folder, recipe="sft", config=Config(), seed=3) as run:
        assert not run.done
        assert raw(folder)["status"] == "running"
        assert read_run(folder) == run.record
        run.finish({"loss": 0.5})
    data = raw(folder)
    assert data["schema"] == 1
    assert (data["name"], data["recipe"], data["status"], data["seed"]) == ("sft", "sft", "done", 3)
    assert data["config"] == {"lr": 0.1, "name": "x", "log_every": 1}
    assert data["code"]["version"] == backflip.__version__
    assert data["code"].keys() == {"version", "commit", "dirty"}
    assert (data["parents"], data["result"], data["error"]) == ([], {"loss": 0.5}, None)
    assert datetime.fromisoformat(data["started"]).utcoffset() == datetime.fromisoformat(data["finished"]).utcoffset()
    assert 0 <= data["seconds"] < 60


def test_finished_work_is_not_done_again(tmp_path: Path) -> None:
    first = work(tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    again = work(tmp_path, Config(log_every=7))  # a field that changes no number
    assert again.done
    assert again.result == first.result == {"loss": 0.5, "pair": [1, 2]}
    assert (tmp_path / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"config": Config(lr=0.2, log_every=5)},
            r"other work: lr is 0\.1 there, wanted 0\.2: choose another folder, or",
        ),
        ({"seed": 4}, "seed is 3 there, wanted 4"),
        ({"recipe": "ppo"}, "recipe is 'sft' there, wanted 'ppo'"),
        (
            {"parents": [Parent("answers", "s.db", {"up_to": 9})]},
            "parent 0 is None there, wanted 'answers s.db up_to=9'",
        ),
    ],
)
def test_other_work_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    work(tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(CheckpointError, match=message):
        work(tmp_path, **changes)
    assert (tmp_path / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (ModelError("no model there"), "failed", "no model there"),
        (OutOfSpace("full"), "failed", "full"),
        (ZeroDivisionError("by zero"), "failed", "ZeroDivisionError: by zero"),
        (SystemExit(2), "failed", "SystemExit: 2"),
        (KeyboardInterrupt(), "interrupted", "interrupted from the keyboard"),
        (LabellingPaused("12 of 40 answered"), "interrupted", "12 of 40 answered"),
    ],
)
def test_errors_are_recorded_pass_on_and_can_be_gone_on_from(
    tmp_path: Path, error: BaseException, status: str, text: str
) -> None:
    with pytest.raises(type(error)), open_run(tmp_path, recipe="sft", config=Config(), seed=3):
        raise error
    assert (raw(tmp_path)["status"], raw(tmp_path)["error"]) == (status, text)
    started = raw(tmp_path)["started"]
    assert work(tmp_path).done
    assert (raw(tmp_path)["status"], raw(tmp_path)["error"], raw(tmp_path)["started"]) == ("done", None, started)


def test_a_recipe_that_forgets_its_result_has_failed(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointError, match="without a result"),
        open_run(tmp_path, recipe="sft", config=Config(), seed=3),
    ):
        pass
    assert raw(tmp_path)["status"] == "failed"


@pytest.mark.parametrize("result", [{"x": math.nan}, {"x": Path("a")}])
def test_a_result_that_json_cannot_hold_is_not_done(tmp_path: Path, result: Mapping[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)), open_run(tmp_path, recipe="sft", config=Config(), seed=3) as run:
        run.finish(result)
    assert raw(tmp_path)["status"] == "failed"


def test_seconds_add_up_over_attempts(tmp_path: Path) -> None:
    with pytest.raises(ModelError), open_run(tmp_path, recipe="sft", config=Config(), seed=3):
        raise ModelError("x")
    data = raw(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(data | {"seconds": 1000.0}))
    work(tmp_path)
    assert 1000.0 < raw(tmp_path)["seconds"] < 1060.0


def test_a_second_run_in_this_process_is_kept_out_too(tmp_path: Path) -> None:
    with open_run(tmp_path, recipe="sft", config=Config(), seed=3) as run:
        with pytest.raises(CheckpointError, match=f"process {os.getpid()} works in .*; wanted the folder to itself"):
            work(tmp_path)
        run.finish({})
    assert raw(tmp_path)["status"] == "done"


HOLDER = """
import sys, time
from pathlib import Path
from dataclasses import dataclass
from backflip.runs import open_run

@dataclass(frozen=True)
class Config:
    lr: float = 0.1
    name: str = "x"

with open_run(Path(sys.argv[1]), recipe="sft", config=Config(), seed=3):
    print("open", flush=True)
    time.sleep(100)
"""


def test_two_processes_and_a_killed_one(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        live = read_run(tmp_path)
        with pytest.raises(CheckpointError, match=f"process {holder.pid} works in"):
            work(tmp_path)
        holder.send_signal(signal.SIGKILL)
    killed = read_run(tmp_path)
    assert live is not None
    assert killed is not None
    assert (live.status, killed.status, raw(tmp_path)["status"]) == ("running", "killed", "running")
    assert work(tmp_path).done  # the lock went with its holder


def test_a_damaged_or_newer_record_is_an_error(tmp_path: Path) -> None:
    work(tmp_path)
    data = raw(tmp_path)
    for text, message in (
        ("{", "damaged"),
        ("{}", "damaged"),
        (json.dumps(data | {"schema": 2}), "schema 2; wanted 1"),
    ):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(CheckpointError, match=message):
            work(tmp_path)


def test_what_a_killed_process_left_half_written_is_swept(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()
    (tmp_path / f".model.{child.pid}.partial").mkdir()
    work(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "tensorboard") == [
        "metrics.jsonl",
        "run.json",
        "run.lock",
    ]


def test_parents_within_the_root_are_relative_and_others_absolute(tmp_path: Path) -> None:
    work(tmp_path / "root/runs/sft")
    (tmp_path / "outside").mkdir()
    parents = [
        Parent("run", str(tmp_path / "root/runs/sft")),
        Parent("data", str(tmp_path / "outside")),
        Parent("model", "someone/a-model"),
        Parent("answers", "postgresql://me:secret@host/db", {"up_to": 3}),
    ]
    work(tmp_path / "root/runs/ppo", parents=parents, root=tmp_path / "root")
    refs = [p["ref"] for p in raw(tmp_path / "root/runs/ppo")["parents"]]
    assert refs == ["../sft", str(tmp_path / "outside"), "someone/a-model", "postgresql://me:***@host/db"]
    (tmp_path / "root").rename(tmp_path / "moved")  # the whole tree moves, and nothing is made anew
    moved = [Parent("run", str(tmp_path / "moved/runs/sft")), *parents[1:]]
    assert work(tmp_path / "moved/runs/ppo", parents=moved, root=tmp_path / "moved").record.started


def test_a_parent_made_anew_makes_other_work(tmp_path: Path) -> None:
    model = tmp_path / "sft" / "model"
    parents = [Parent("model", str(model))]
    work(tmp_path / "sft", seed=1)
    model.mkdir()
    first = work(tmp_path / "ppo", parents=parents, root=tmp_path).fingerprint
    (tmp_path / "sft/run.json").unlink()
    work(tmp_path / "sft", seed=2)
    with pytest.raises(CheckpointError, match="other work: a parent was made anew since"):
        work(tmp_path / "ppo", parents=parents, root=tmp_path)
    assert work(tmp_path / "ppo2", parents=parents, root=tmp_path).fingerprint != first


def test_a_snapshot_counts_and_its_place_does_not(tmp_path: Path) -> None:
    def of(name: str, parent: Parent) -> str:
        return work(tmp_path / name, parents=[parent]).fingerprint

    first = of("a", Parent("answers", "one.db", {"up_to": 9, "snapshot": "s"}))
    assert of("b", Parent("answers", "two.db", {"up_to": 9, "snapshot": "s"})) == first
    assert of("c", Parent("answers", "one.db", {"up_to": 9, "snapshot": "t"})) != first
    assert of("d", Parent("data", "one")) != of("e", Parent("data", "two"))


def test_the_ledger_needs_no_torch() -> None:
    code = "import sys, backflip.runs.show, backflip.launch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_parent_of_no_kind_is_refused() -> None:
    with pytest.raises(DataError, match="parent kind is 'child'; wanted one of run, model, answers, data"):
        Parent("child", "x")  # type: ignore[arg-type]
