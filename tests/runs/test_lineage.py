"""Runs are listed and found, and each tells its ancestry."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from backflip.errors import DataError
from backflip.runs import Parent, ancestry, find_run, list_runs, open_run
from backflip.runs.show import run_page, runs_table


@dataclass(frozen=True)
class Config:
    lr: float = 0.1


def work(folder: Path, recipe: str, *parents: Parent) -> None:
    with open_run(folder, recipe=recipe, config=Config(), seed=3, parents=parents, root=folder.parents[1]) as run:
        run.metrics._tensorboard = False
        run.finish({"score": 1.5})
        (folder / "model").mkdir()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """sft -> reward (with answers) -> ppo (from both): the InstructGPT family."""
    root = tmp_path / "runs"
    work(root / "sft", "sft", Parent("data", "demonstrations.jsonl", {"sha256": "abc"}))
    answers = Parent("answers", "store.db", {"up_to": 120, "withdrawn": 2, "snapshot": "def"})
    work(root / "reward", "reward", Parent("model", str(root / "sft/model")), answers)
    parents = [Parent("model", str(root / "sft/model")), Parent("run", str(root / "reward"))]
    work(root / "round2/ppo", "ppo", *parents)
    return root


def text(page: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(page)
    return out.getvalue()


def test_runs_are_listed_and_damaged_ones_named(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    (runs / "bad").mkdir()
    (runs / "bad/run.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        found = list_runs(runs)
    assert [r.folder.relative_to(runs).as_posix() for r in found] == ["sft", "reward", "round2/ppo"]
    assert "bad/run.json is damaged" in caplog.text
    assert list_runs(runs / "nowhere") == []


def test_a_run_is_found_by_path_or_by_the_end_of_it(runs: Path) -> None:
    for name in ("ppo", "round2/ppo", str(runs / "round2/ppo")):
        assert find_run(runs, name).recipe == "ppo"
    with pytest.raises(DataError, match=r"0 runs under .* are named 'pp'; wanted one of: .*round2/ppo"):
        find_run(runs, "pp")
    work(runs / "round1/ppo", "ppo")
    with pytest.raises(DataError, match=r"2 runs under .* are named 'ppo'; wanted one of: round"):
        find_run(runs, "ppo")


def test_ancestry_is_followed_to_the_data(runs: Path) -> None:
    sft, reward = ancestry(find_run(runs, "ppo"))
    assert sft.run is not None
    assert reward.run is not None
    assert (sft.run.recipe, reward.run.recipe) == ("sft", "reward")
    assert [(a.parent.kind, a.run) for a in sft.parents] == [("data", None)]
    assert [a.parent.kind for a in reward.parents] == ["model", "answers"]
    assert [a.parent.ref for a in reward.parents[0].parents] == ["demonstrations.jsonl"]


def test_a_circle_made_by_hand_ends(runs: Path) -> None:
    record = runs / "sft/run.json"
    record.write_text(
        record.read_text().replace('"kind": "data"', '"kind": "run"').replace("demonstrations.jsonl", ".")
    )
    (circle,) = ancestry(find_run(runs, "sft"))
    assert circle.run is None


def test_a_narrow_table_cuts_no_name(runs: Path) -> None:
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(runs_table(list_runs(runs), runs))
    assert "…" not in console.export_text()


def test_the_table_and_the_page_tell_it(runs: Path) -> None:
    table = text(runs_table(list_runs(runs), runs))
    assert all(name in table for name in ("round2/ppo", "reward", "sft", "done", "recipe"))
    page = text(run_page(find_run(runs, "ppo")))
    for line in ("seed", "lr=0.1", '"score": 1.5', "answers up to number 120 less 2 withdrawals, store.db", "done"):
        assert line in page
    assert page.count("demonstrations.jsonl") == 1
    assert page.count("its parents stand above") == 1
