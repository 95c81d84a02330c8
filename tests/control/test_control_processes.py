"""Real processes: each is killed in the midst of its work, and the run ends with every answer that was given."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from backflip.config import from_dict
from backflip.errors import BackflipError, ConfigError
from backflip.feedback.media import Media
from backflip.feedback.store import Store
from backflip.recipes.control_processes import Config, run
from backflip.recipes.control_processes.supervisor import PROCESSES
from backflip.runs.metrics import read_metrics

TINY = {
    "env": {"env": "Hopper-v5", "count": 4, "horizon": 20},
    "agent": {"steps": 20, "epochs": 1, "minibatch": 80, "hidden": 8},
    "predictor": {"members": 2, "hidden": 8},
    "asking": {"budget": 24, "first_share": 0.25, "anneal": 1e4},
    "clip": 8,
    "first_fit": 5,
    "fit": 5,
    "episodes": 1,
    "evaluation_horizon": 20,
    "checkpoint_every": 5,
    "seconds_an_answer": 0.05,
    "look_every": 0.2,
}
PATIENCE = 250.0


def tiny(folder: Path, steps: int, **changes: Any) -> Config:
    return from_dict(Config, {**TINY, "folder": str(folder), "steps": steps, **changes})


def until(what: Callable[[], Any], why: str) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, why
        time.sleep(0.02)


def pids(folder: Path) -> dict[str, int]:
    path = folder / PROCESSES
    return dict(json.loads(path.read_bytes())) if path.exists() else {}


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def given(folder: Path) -> list[tuple[int, str]]:
    with Store.open(str(folder / "feedback.db")) as store:
        return [(number, answer.question) for number, answer in store.answers()]


def work(config: Config) -> None:
    """The supervisor in a process of its own."""
    run(config)


def test_each_process_is_killed_and_no_answer_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    config = tiny(folder, steps=80 * 40)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["backflip.recipes.control_processes.roles"])
    first = context.Process(target=work, args=(config,))
    first.start()
    until(lambda: len(pids(folder)) == 5 and (folder / "feedback.db").exists(), "the processes did not start")
    until(lambda: len(given(folder)) >= 3, "nobody answered")
    for role in ("answering", "learning", "acting", "watching"):
        before = pids(folder)[role]
        os.kill(before, signal.SIGKILL)
        until(lambda role=role, before=before: pids(folder)[role] != before, f"{role} was not started again")
    until(lambda: read_metrics(folder / "predictor"), "the predictor was never fitted")
    kept, members = given(folder), pids(folder)
    os.kill(members["supervisor"], signal.SIGKILL)
    first.join()
    until(lambda: not any(alive(pid) for pid in members.values()), "a process outlived its supervisor")

    result = run(config)
    answers = given(folder)
    assert answers[: len(kept)] == kept
    assert [number for number, _ in answers] == list(range(1, len(answers) + 1))
    assert len({question for _, question in answers}) == len(answers)
    assert len(kept) <= result.answers == len(answers) <= 24
    assert result.steps == config.steps
    steps = [line["step"] for line in read_metrics(folder)]
    assert steps == sorted(set(steps))
    assert any("control/reward" in line for line in read_metrics(folder))
    assert not list(folder.rglob("*.partial"))
    look = json.loads((folder / "look.json").read_bytes())
    assert look["clip"] in Media(folder / "feedback.media")
    assert len(look["predicted"]) == 20
    assert look["history"][-1]["steps"] == config.steps
    assert run(config) == result  # and what is done stays done


def test_without_answers_it_explores_and_says_that_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from backflip.recipes.control_processes import acting

    config = tiny(tmp_path, steps=80, labellers="people")
    agent = acting._Agent(config, "f")

    def interrupted(_: float) -> None:
        if agent.idle == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(acting.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        agent.work()
    agent.close()
    lines = read_metrics(tmp_path)
    assert [line["control/waiting"] for line in lines] == [1.0] * len(lines)
    assert "no answers to learn from yet: the agent explores and waits" in caplog.text
    assert agent.trained == 0  # exploring costs none of the steps
    assert config.pool.latest()[0] == agent.learner.rollouts  # and there is always something to ask about


def test_a_process_that_fails_by_itself_ends_the_run_and_says_why(tmp_path: Path) -> None:
    config = tiny(
        tmp_path / "run", steps=80, env={"env": "CartPole-v1", "count": 4, "horizon": 20, "on_end": "restart"}
    )
    with pytest.raises(BackflipError, match=r"the process 'learning' ended: a clip of CartPole-v1 has neither poses"):
        run(config)
    assert json.loads((tmp_path / "run" / "run.json").read_bytes())["status"] == "failed"


def test_the_agents_process_has_no_way_to_the_true_reward(tmp_path: Path) -> None:
    from backflip.recipes.control_processes import acting

    config = tiny(tmp_path, steps=80)
    agent = acting._Agent(config, "f")
    with suppress(Exception):
        agent.turn()
    assert not config.sealed
    assert agent.learner.recorder._rewards == []
    assert all(rewards is None for pack in config.pool.newest() for _, rewards in pack.clips)
    agent.close()


def test_a_reward_that_no_answer_gives_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="reward is 'hand_written'; wanted answers"):
        tiny(tmp_path, steps=80, reward="hand_written")
