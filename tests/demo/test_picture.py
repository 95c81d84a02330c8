"""The picture is drawn from the files of a run, and is no more than an extra."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from backflip.demo.picture import draw
from backflip.errors import DependencyError


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """What two rounds leave, with a figure that does not exist."""

    def rate(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.1, "high": value + 0.05}

    policies: dict[str, Any] = {
        "base": {"win_rate_vs_base": None, "win_rate_vs_sft": rate(0.3)},
        "sft": {"win_rate_vs_base": rate(0.7), "win_rate_vs_sft": None},
        "ppo": {"win_rate_vs_base": rate(0.8), "win_rate_vs_sft": rate(0.6)},
    }
    summary = {"rounds": 2, "held_out_prompts": 10, "policies": policies}
    (tmp_path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    for number in (1, 2):
        folder = tmp_path / f"round-{number}" / "ppo"
        folder.mkdir(parents=True)
        lines = [json.dumps({"step": s, "objective/score": s / 10, "objective/kl": None}) + "\n" for s in (1, 2, 3)]
        (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    return tmp_path


def test_it_is_a_png_of_its_size(finished: Path) -> None:
    data = draw(finished).read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))  # IHDR
    assert (width, height) == (1500, 690)


def test_without_matplotlib_it_names_the_extra(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DependencyError, match=r"backflip\[demo\]"):
        draw(finished)
    assert not (finished / "demo.png").exists()
