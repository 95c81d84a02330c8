"""A resumed run's JSONL is that of an uninterrupted one; TensorBoard gets the same numbers."""

from __future__ import annotations

import logging
import math
import sys
from pathlib import Path

import pytest

from backflip.errors import OutOfSpace, TrainingDiverged
from backflip.runs import metrics as module
from backflip.runs.metrics import MetricsWriter, read_metrics, require_finite


def test_one_line_a_step(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path, tensorboard=False)
    writer.write(1, {"loss": 0.5, "count": 2})
    writer.write(2, {"loss": math.nan, "kl": math.inf})
    assert (tmp_path / "metrics.jsonl").read_text() == (
        '{"step": 1, "loss": 0.5, "count": 2.0}\n{"step": 2, "loss": null, "kl": null}\n'
    )


def test_a_resumed_run_writes_what_an_uninterrupted_one_does(tmp_path: Path) -> None:
    for name in ("whole", "resumed"):
        (tmp_path / name).mkdir()
    whole, resumed = (MetricsWriter(tmp_path / name, tensorboard=False) for name in ("whole", "resumed"))
    for step in range(1, 7):
        whole.write(step, {"loss": 1 / step})
    for step in range(1, 5):
        resumed.write(step, {"loss": 1 / step})
    with (tmp_path / "resumed" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # killed in the middle of a line
    assert [line["step"] for line in read_metrics(tmp_path / "resumed")] == [1, 2, 3, 4]
    again = MetricsWriter(tmp_path / "resumed", tensorboard=False)
    again.truncate(after_step=2)  # the last checkpoint was of step 2
    for step in range(3, 7):
        again.write(step, {"loss": 1 / step})
    assert (tmp_path / "resumed" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def test_truncate_of_nothing_and_of_all(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path, tensorboard=False)
    writer.truncate(after_step=0)
    assert read_metrics(tmp_path) == []
    writer.write(1, {})
    writer.truncate(after_step=0)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


def test_tensorboard_gets_the_same(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with MetricsWriter(tmp_path) as writer:
        for step in (1, 2, 3):
            writer.write(step, {"loss/policy": step / 2})
        writer.truncate(after_step=1)
        writer.write(2, {"loss/policy": 7.0})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/policy")] == [(1, 0.5), (2, 7.0)]


def test_without_tensorboard_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    module._summary_writer.cache_clear()
    with caplog.at_level(logging.WARNING), MetricsWriter(tmp_path) as writer:
        writer.write(1, {"a": 1.0})
        writer.write(2, {"a": 1.0})
    module._summary_writer.cache_clear()
    assert caplog.text.count("tensorboard is not installed") == 1
    assert len(read_metrics(tmp_path)) == 2


def test_a_full_disk_is_out_of_space(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OutOfSpace):
        MetricsWriter(tmp_path, tensorboard=False).write(1, {"a": 1.0})


def test_what_diverged_is_named() -> None:
    require_finite(3, {"loss": 1.0, "kl": -2.0})
    with pytest.raises(TrainingDiverged, match="at step 3 loss is nan, kl is -inf; wanted finite numbers"):
        require_finite(3, {"loss": math.nan, "fine": 0.0, "kl": -math.inf})
