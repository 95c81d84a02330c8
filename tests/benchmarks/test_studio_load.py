"""The load benchmark measures: a handful of labellers, for seconds."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parents[2] / "benchmarks"


def test_a_small_crowd_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PROGRAMS)
    program = importlib.import_module("studio_load")
    config = program.Config(labellers=4, every=0.3, seconds=1.5, questions=200, looks=5, work=tmp_path)
    run = program.load(config, str(tmp_path / "load.db"), "sqlite")
    assert run["answers"] >= 8
    assert (run["store"], run["labellers"], run["errors"], run["lost"], run["twice"]) == ("sqlite", 4, 0, 0, 0)
    assert 0 < run["p50_ms"] <= run["p99_ms"]
    assert program.next_question(config) > 0


def test_quantiles_are_of_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PROGRAMS)
    program = importlib.import_module("studio_load")
    assert program.quantile([i / 1000 for i in range(1, 101)], 0.99) == 100.0
    assert program.quantile([0.004], 0.5) == 4.0
