"""The whole demo at the tiny scale: every stage, the summary's form, reuse, killing, pausing, and what goes wrong."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_sets import write_small_sets
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from backflip.cli import main
from backflip.demo.loop import Config, run
from backflip.feedback.store import Store
from backflip.runs import list_runs, read_metrics, read_run

FOLDER = Path("runs/demo")
WORDS = ["demo", "--scale", "tiny", "--folder", str(FOLDER), "--test-questions", "0"]
POLICIES = ["base", "base_prompted", "sft", "best_of_n", "ppo"]
INTERVAL = {"value", "low", "high"}
KILLS = (0.05, 0.3, 0.6, 0.9)  # shares of what the stages record


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which the demo ran once; `screen.txt` is what it printed."""
    here, folder = Path.cwd(), tmp_path_factory.mktemp("demo")
    os.chdir(folder)
    with (folder / "screen.txt").open("w", encoding="utf-8") as file:
        run(Config(folder=FOLDER, scale="tiny", test_questions=0), console=Console(file=file, width=80))
    os.chdir(here)
    return folder


@pytest.fixture
def demo(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Its summary; we stand in the working folder."""
    monkeypatch.chdir(root)
    return summary()


def summary(folder: Path = FOLDER) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return found


def untimed(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in ("seconds", "machine")}


def untimed_metrics(folder: Path = FOLDER) -> list[list[dict[str, Any]]]:
    stages = sorted(path.parent for path in folder.rglob("metrics.jsonl"))
    return [
        [
            {n: v for n, v in line.items() if not n.startswith("time/") and not n.endswith("per_second")}
            for line in read_metrics(stage)
        ]
        for stage in stages
    ]


def recorded() -> int:
    """How many lines the stages have written: of metrics, samples and answers."""
    count = 0
    for folder, _, names in os.walk(FOLDER):  # passes over a folder that goes while it looks; `rglob` does not
        for name in names:
            if name.endswith(".jsonl"):
                with suppress(FileNotFoundError):
                    count += (Path(folder) / name).read_bytes().count(b"\n")
    return count


# --- the summary, as docs/demo.md has it


def test_the_summary_has_the_agreed_form(demo: dict[str, Any]) -> None:
    assert demo["simulated"] is True
    assert demo["held_out_prompts"] == 12
    assert list(demo["policies"]) == POLICIES
    for figures in demo["policies"].values():
        assert {"judge", "win_rate_vs_base", "win_rate_vs_sft", "win_rate_vs_sft_same_length"} < set(figures)
        assert {"rm", "kl_to_sft", "tokens", "eos_share"} < set(figures)
        assert isinstance(figures["judge"]["parts"], dict)
        assert all(isinstance(figures[name], float) for name in ("rm", "kl_to_sft", "tokens", "eos_share"))
        assert 0 <= figures["eos_share"] <= 1
        assert 0 < figures["tokens"] <= 12
    assert set(demo["reward_model"]) == {"held_out_accuracy", "pairs"}
    assert demo["reward_model"]["pairs"] > 0
    assert set(demo["models"]) == {"sft", "reward", "ppo"}


def intervals(value: Any) -> Iterator[dict[str, float]]:
    if isinstance(value, dict):
        if set(value) >= INTERVAL:
            yield value
        for inner in value.values():
            yield from intervals(inner)


def test_every_interval_holds_its_value(demo: dict[str, Any]) -> None:
    found = list(intervals(demo))
    assert len(found) >= 5 + 4 + 4 + 1  # judge; against base, against SFT, each less itself; the reward model's
    assert all(0 <= one["low"] <= one["value"] <= one["high"] <= 1 for one in found)


def test_nobody_is_compared_with_itself(demo: dict[str, Any]) -> None:
    for rival in ("base", "sft"):
        alone = [name for name, figures in demo["policies"].items() if figures[f"win_rate_vs_{rival}"] is None]
        assert alone == [rival]
    assert demo["policies"]["sft"]["kl_to_sft"] == 0


def test_seconds_are_of_each_stage_and_add_up(demo: dict[str, Any]) -> None:
    seconds = dict(demo["seconds"])
    whole = {name: seconds.pop(name) for name in ("total", "this_call", "model")}
    assert list(seconds) == ["sft", "sample", "ask", "reward", "ppo", "evaluate"]
    assert whole["total"] == pytest.approx(sum(seconds.values()), abs=0.05)


def test_the_models_are_ordinary_transformers_folders(demo: dict[str, Any]) -> None:
    models = {name: Path(folder) for name, folder in demo["models"].items()}
    assert not any(folder.is_absolute() for folder in models.values())
    for name in ("sft", "ppo"):
        AutoModelForCausalLM.from_pretrained(models[name])
        assert AutoTokenizer.from_pretrained(models[name]).chat_template
    classifier = AutoModelForSequenceClassification.from_pretrained(models["reward"])
    assert classifier.config.num_labels == 1


def test_every_artefact_is_recorded(demo: dict[str, Any]) -> None:
    runs = list_runs(FOLDER)
    assert [one.recipe for one in runs] == ["sft", "sample", "ask", "reward", "ppo", "evaluate"]
    assert {one.status for one in runs} == {"done"}
    with Store.open(FOLDER / "feedback.db") as store:
        kinds = {numbered.answer.labeller.kind for numbered in store.answers()}
        assert kinds == {"simulated"}


def test_the_screen_says_it_all_in_80_columns(demo: dict[str, Any]) -> None:
    screen = Path("screen.txt").read_text(encoding="utf-8")
    assert max(len(line) for line in screen.splitlines()) <= 80
    assert "…" not in screen
    assert [line.split()[0] for line in screen.splitlines() if line[1:3] == "/6"] == [f"{i}/6" for i in range(1, 7)]
    table = screen.partition("blind comparison on 12")[2]
    for said in ("simulated judge", "the moon landing", "read this too", "runs/demo/demo.png", "runs/demo/report.html"):
        assert said in screen
    assert "two layers of random" in " ".join(screen.replace("│", " ").split())
    assert "135 million" not in screen
    ppo = demo["policies"]["ppo"]["win_rate_vs_base"]
    assert f"{100 * ppo['low']:.0f}–{ppo['high']:.0%}" in table
    assert (FOLDER / "demo.png").stat().st_size > 10_000


# --- again, and after being killed


def test_a_second_run_reuses_everything(demo: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    before, metrics = {p: p.stat().st_mtime_ns for p in FOLDER.rglob("model/*")}, untimed_metrics()
    assert main(WORDS) == 0
    again = summary()
    assert untimed(again) == untimed(demo)
    assert {n: s for n, s in again["seconds"].items() if n not in ("model", "this_call")} == {
        n: s for n, s in demo["seconds"].items() if n not in ("model", "this_call")
    }
    assert again["seconds"]["this_call"] < 3
    assert {p: p.stat().st_mtime_ns for p in FOLDER.rglob("model/*")} == before
    assert untimed_metrics() == metrics
    screen, notes = capfd.readouterr()
    assert sum(line[1:10] == "/6  done " for line in screen.splitlines()) == 6
    assert notes == "", "nothing is worked on, so there is no progress to show, nor anything of other libraries"


def test_another_seed_in_the_same_folder_is_refused(demo: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--seed", "1"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("runs/demo/sft holds a run of other work: seed is 0 there, wanted 1")
    assert said.endswith("choose another folder, or delete this one to start again\n")
    assert untimed(summary()) == untimed(demo)


@pytest.mark.timeout(120)
def test_killed_again_and_again_it_ends_with_the_same_summary(
    demo: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Any
) -> None:
    metrics, whole = untimed_metrics(), recorded()
    monkeypatch.chdir(tmp_path)  # the same relative folder
    log, draws, killed = tmp_path / "log.txt", random.Random(11), 0
    for share in KILLS:
        process = start(WORDS, log)
        while process.is_alive() and recorded() < share * whole:
            process.join(0.005)
        process.join(draws.uniform(0.0, 0.05))  # at no particular moment
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join(60)
        killed += process.exitcode == -signal.SIGKILL
    last = start(WORDS, log)
    last.join(90)
    assert last.exitcode == 0, log.read_text()
    assert killed >= 3
    assert untimed(summary()) == untimed(demo)
    assert untimed_metrics() == metrics
    assert not list(tmp_path.rglob("*.partial")), "something half-written was left"


# --- the report, and what is measured for it after the timed run


def test_the_report_carries_test_sets(
    demo: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(FOLDER, tmp_path / FOLDER)
    bare = (FOLDER / "report.html").read_text(encoding="utf-8")
    assert "Not measured: TruthfulQA" in bare
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BACKFLIP_DATA", str(write_small_sets(tmp_path)))
    assert main([*WORDS[:-1], "2"]) == 0
    said = capsys.readouterr().out
    assert "now, outside the demo's time, a small look at public test sets: 2 questions of each" in " ".join(
        said.split()
    )
    assert said.splitlines()[-1] == f"all of it as one page to show: {FOLDER / 'report.html'}"
    page = (FOLDER / "report.html").read_text(encoding="utf-8")
    for title in ("TruthfulQA, multiple choice", "RealToxicityPrompts", "CrowS-Pairs", "SafetyBench (Chinese)"):
        assert f"<h3>{title}</h3>" in page
    assert "Not measured: CValues (Chinese)." in page
    assert untimed(summary()) == untimed(demo), "no part of the demo's figures"


def test_without_network_and_data_the_demo_ends_well(
    demo: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(FOLDER, tmp_path / FOLDER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BACKFLIP_DATA", raising=False)
    monkeypatch.setenv("BACKFLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    assert main([*WORDS[:-1], "2"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the report is without test sets: the set 'truthfulqa' is not here" in said
    assert "$BACKFLIP_DATA, or --data of `backflip measure`" in said
    assert "Not measured: TruthfulQA" in (FOLDER / "report.html").read_text(encoding="utf-8")


# --- a person at the keyboard


def test_a_person_ranks_pauses_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*WORDS, "--human", "--questions", "6"]
    monkeypatch.setattr("sys.stdin", io.StringIO("abcd\nnonsense\nb=cda\nq\n"))
    assert main(words) == 3
    out, error = capsys.readouterr()
    assert "every answer is kept, and the same command goes on" in error
    assert "'N' is none of A, B, C, D" in out
    record = read_run(FOLDER / "round-1" / "ask")
    assert record is not None
    assert record.status == "interrupted"
    assert not (FOLDER / "summary.json").exists()

    monkeypatch.setattr("sys.stdin", io.StringIO("dcba\n" * 6))
    assert main(words) == 0
    assert summary()["simulated"] is False
    assert "The labeller was you" in capsys.readouterr().out
    with Store.open(FOLDER / "feedback.db") as store:
        given = [numbered.answer for numbered in store.answers()]
    assert [(a.labeller.kind, len(a.tiers)) for a in given] == [("person", n) for n in (4, 3, 4, 4, 4, 4)]
    assert given[0].tiers == tuple((c,) for c in given[0].shown)  # abcd is the order on the screen


# --- what goes wrong


def test_a_model_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*WORDS, "--model", "no/such/folder"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("cannot get the model 'no/such/folder'")
    assert "Give the path of a local Transformers folder instead" in said
    assert "Traceback" not in said
    assert not FOLDER.exists()


def test_ctrl_c_ends_with_130_and_a_kind_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Any) -> None:
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "log.txt"
    process = start(WORDS, log)
    until = time.monotonic() + 60
    while not read_metrics(FOLDER / "sft") and time.monotonic() < until:
        time.sleep(0.01)
    for _ in range(2):  # Python drops one that arrives while an object is being collected
        os.kill(process.pid, signal.SIGINT)
        process.join(3)
        if not process.is_alive():
            break
    process.join(60)
    assert process.exitcode == 130, log.read_text()
    assert log.read_text().splitlines()[-1] == "interrupted; the same command goes on"
    assert "Traceback" not in log.read_text()
    unfinished = [one.status for one in list_runs(FOLDER) if one.status != "done"]
    assert unfinished == ["interrupted"]


@pytest.mark.parametrize(
    ("first", "limit", "refused"),
    [("sft", 60_000, "sft/checkpoints/step-000000001.pt"), ("round-1/ppo", 110_000, "round-1/ppo/best")],
)  # a checkpoint of SFT has more bytes than that, one of PPO less, and a model of either 114,808
def test_a_full_disk_leaves_no_half_model(
    demo: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: Any,
    first: str,
    limit: int,
    refused: str,
) -> None:
    """A limit on the size of files stands in for the disk. The store has its answers, and is read alone."""
    shutil.copytree(FOLDER, tmp_path / FOLDER)
    monkeypatch.chdir(tmp_path)
    for stage in (FOLDER / first, FOLDER / "evaluate"):
        shutil.rmtree(stage)
    (FOLDER / "summary.json").unlink()
    log = tmp_path / "log.txt"
    process = start(WORDS, log, limit=limit)
    process.join(60)
    assert process.exitcode == 1, log.read_text()
    said = log.read_text().splitlines()[-1]
    assert said.startswith(f"cannot write runs/demo/{refused}: File too large; nothing half-written was left there")
    assert not list(tmp_path.rglob("*.partial"))
    assert not (FOLDER / first / "model").exists()
    record = read_run(FOLDER / first)
    assert record is not None
    assert record.status == "failed"
    last = start(WORDS, log)
    last.join(60)
    assert last.exitcode == 0, log.read_text()
    assert untimed(summary()) == untimed(demo)
