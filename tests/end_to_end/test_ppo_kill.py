"""PPO, killed for real: SIGKILL at random moments, again and again, and the numbers of a run that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from backflip.feedback.store import Store
from backflip.lm.hub import tiny_model
from backflip.records import Prompt
from backflip.runs.metrics import read_metrics
from backflip.runs.texts import TEXTS

UPDATES = 12
KILLS = (0, 2, 6)  # updates that are recorded before the kill, at least
REWARDS = """
import random

def noisy(prompt, text, ended):
    return text.count("e") + random.random()  # drawn from the global generator: its state has to come back too

def judge(prompt, text, ended):
    return len(text) + random.random()
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A command line that puts every piece of state to work, on a tiny model."""
    tiny_model(tmp_path / "tiny")
    with Store.open(str(tmp_path / "feedback.db")) as store:
        store.add_prompts([Prompt.ask(f"What is {n}?") for n in range(5)], name="default")
        store.add_prompts([Prompt.ask(f"Why is {n}?") for n in range(3)], name="default", split="validation")
    (tmp_path / "prose.txt").write_text("The sun is a star. " * 40, encoding="utf-8")
    (tmp_path / "kill_rewards.py").write_text(REWARDS, encoding="utf-8")
    options: dict[str, Any] = {
        "policy": tmp_path / "tiny",
        "reward": "python:kill_rewards:noisy 1.0",
        "judge.spec": "python:kill_rewards:judge 1.0",
        "store": tmp_path / "feedback.db",
        "judge.every": 2,
        "updates": UPDATES,
        "batch": 8,
        "samples": 2,
        "minibatch": 4,
        "inner-epochs": 2,
        "max-tokens": 6,
        "rates.policy": 1e-2,
        "kl.beta": 0.1,
        "kl.target": 0.5,
        "kl.horizon": 100,
        "ema": 0.9,
        "ptx.text": tmp_path / "prose.txt",
        "ptx.examples": 1,
        "ptx.length": 8,
        "checkpoint-every": 1,
    }
    flags = [word for name, value in options.items() for word in (f"--{name}", *str(value).split())]
    return [sys.executable, "-m", "backflip.recipes.ppo", *flags, "--scores.normalise"]


def start(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder.parent)}
    log = (folder.parent / f"{folder.name}.log").open("ab")
    with log:
        return subprocess.Popen([*words, "--folder", str(folder)], env=environment, stdout=log, stderr=log)


def works(process: subprocess.Popen[bytes], folder: Path) -> bool:
    """Whether the process has taken the folder's lock."""
    lock = folder / "run.lock"
    return lock.exists() and lock.read_text() == str(process.pid)


def updates(folder: Path) -> int:
    """How many are recorded; line 0 is of the judge alone."""
    return max((line["step"] for line in read_metrics(folder)), default=0)


@pytest.mark.timeout(200)
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_numbers(tmp_path: Path, words: list[str]) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    left_alone = start(words, whole)
    draws, reached = random.Random(7), []
    for wanted in KILLS:
        process = start(words, broken)
        while process.poll() is None and not (works(process, broken) and updates(broken) >= wanted):
            time.sleep(0.005)
        time.sleep(draws.uniform(0.0, 0.1))  # at no particular moment of an update
        process.send_signal(signal.SIGKILL)
        if process.wait(60) == -signal.SIGKILL:
            reached.append(updates(broken))
    last = start(words, broken)
    log = tmp_path / "broken.log"
    assert last.wait(100) == 0, log.read_text()
    assert left_alone.wait(100) == 0, (tmp_path / "whole.log").read_text()
    assert len(reached) >= 2, f"only {len(reached)} of {len(KILLS)} kills came before the end ({reached} updates)"
    assert any(0 < done < UPDATES for done in reached), f"no kill came between two updates ({reached})"

    lines = [
        [{name: v for name, v in line.items() if not name.startswith("time/")} for line in read_metrics(folder)]
        for folder in (whole, broken)
    ]
    assert [line["step"] for line in lines[0]] == list(range(UPDATES + 1))
    assert lines[0] == lines[1]
    assert (whole / TEXTS).read_text() == (broken / TEXTS).read_text()
    assert files(whole / "model") == files(broken / "model")
    results = [json.loads((folder / "run.json").read_text())["result"] for folder in (whole, broken)]
    assert {**results[0], "model": ""} == {**results[1], "model": ""}
    assert results[0]["best_update"] % 2 == 0
    assert not list(broken.rglob("*.partial")), "something half-written was left"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
