"""The comparison's arithmetic: medians, ratios, floors."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAMS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PROGRAMS)


def speed() -> ModuleType:
    return importlib.import_module("speed")


def part(folder: Path, ours: list[float], peer: list[float], *, ours_mb: float, peer_mb: float) -> dict[str, Any]:
    module = speed()
    config = module.Config(trl112_python=Path("a"), trl116_python=Path("b"), work=folder)
    for side, rates, peak in (("ours", ours, ours_mb), ("peer", peer, peer_mb)):
        for repeat, rate in enumerate(rates):
            path = module._path(config, "reward", side, repeat)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"rankings_per_s": rate, "peak_rss_mb": peak}))
    found: dict[str, Any] = module._part(config, "reward")
    return found


def test_ratios_are_of_medians(tmp_path: Path) -> None:
    found = part(tmp_path, [6.0, 7.0, 99.0], [1.0, 0.5, 1.0], ours_mb=1000.0, peer_mb=2000.0)
    # medians 7 and 1: 7 times as fast; 1000 / 2000 = 0.5 of the memory: both floors (6, 0.5) are reached
    assert (found["speed_ratio"], found["memory_ratio"], found["reached"]) == (7.0, 0.5, True)


@pytest.mark.parametrize(("rate", "peak"), [(5.9, 1000.0), (7.0, 1001.0)])
def test_both_floors_count(tmp_path: Path, rate: float, peak: float) -> None:
    assert not part(tmp_path, [rate], [1.0], ours_mb=peak, peer_mb=2000.0)["reached"]


def test_a_part_needs_both_sides(tmp_path: Path) -> None:
    module = speed()
    config = module.Config(trl112_python=Path("a"), trl116_python=Path("b"), work=tmp_path)
    assert module._part(config, "ppo") is None
