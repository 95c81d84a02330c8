"""People at a control run through the real studio: a teacher by HTTP, whatever is killed meanwhile; earlier answers."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from test_control_processes import TINY, alive, given, pids, tiny, until

from backflip.cli import main
from backflip.config import dump, from_dict
from backflip.errors import ConfigError, DataError
from backflip.feedback.store import Store
from backflip.recipes import control
from backflip.recipes.control_processes import run
from backflip.runs.lineage import read_run
from backflip.runs.metrics import read_metrics

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["backflip.recipes.control_processes.roles", "backflip.studio.command"])


def work(words: list[str], log: str) -> None:
    """`backflip WORDS` in the new process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores it
    with open(log, "a", buffering=1, encoding="utf-8") as file:  # noqa: PTH123
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(main(words))


def backflip(log: Path, *words: object) -> ForkServerProcess:
    process = _CONTEXT.Process(target=work, args=([str(word) for word in words], str(log)), daemon=False)
    process.start()
    return process


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def kill(process: ForkServerProcess) -> None:
    process.kill()
    process.join()


def test_a_teacher_answers_through_the_studio_and_each_process_is_killed(tmp_path: Path) -> None:
    folder, log, port = tmp_path / "run", tmp_path / "log.txt", free_port()
    config = tiny(folder, steps=80 * 12, labellers="people", patience=60.0, look_every=0.0, teacher={"goal": "forward"})
    (tmp_path / "config.json").write_text(json.dumps(dump(config)))
    site = ("studio", "--store", folder / "feedback.db", "--accounts", "--port", port, "--runs", tmp_path)
    seat = ("control", "teach", "--folder", folder, "--studio", f"http://127.0.0.1:{port}", "--seconds-an-answer", 0.02)
    agent = backflip(log, "control", "--config", tmp_path / "config.json")
    until(lambda: len(pids(folder)) == 3 and len(list(folder.glob("pool/*"))) > 0, "the processes did not start")
    studio = backflip(log, *site)
    teacher = backflip(log, *seat, "--answers", 4)
    teacher.join()
    assert (teacher.exitcode, len(given(folder))) == (0, 4)  # and the run waits for more
    for role in ("acting", "learning"):
        before = pids(folder)[role]
        os.kill(before, signal.SIGKILL)
        until(lambda role=role, before=before: pids(folder)[role] != before, f"{role} was not started again")
    teacher = backflip(log, *seat)
    until(lambda: len(given(folder)) > 4, "nobody went on")
    kill(studio)
    kept = given(folder)
    studio = backflip(log, *site)
    until(lambda: len(given(folder)) > len(kept), "the teacher did not come back")
    kill(teacher)
    teacher = backflip(log, *seat)  # with the questions that the killed one held
    agent.join()
    teacher.join()
    kill(studio)
    assert (agent.exitcode, teacher.exitcode) == (0, 0), log.read_text()

    answers = given(folder)
    assert answers[: len(kept)] == kept
    assert len({question for _, question in answers}) == len(answers) >= 16  # the agent was never far ahead
    with Store.open(str(folder / "feedback.db")) as store:
        labellers = {(a.labeller.id, a.labeller.kind) for _, a in store.answers()}
        assert all(a.seconds and len(a.shown) == 2 for _, a in store.answers())
    assert labellers == {("teacher", "simulated")}
    result = read_run(folder)
    assert result is not None
    assert (result.status, result.result["steps"]) == ("done", 80 * 12)
    assert not any(alive(pid) for pid in pids(folder).values())


def test_what_a_teacher_cannot_see_is_refused(tmp_path: Path) -> None:
    from backflip.demo.hopper import teach

    config = tiny(tmp_path, steps=80, labellers="people", teacher={"goal": "reward"})
    (tmp_path / "control.json").write_text(json.dumps(dump(config)))
    with pytest.raises(ConfigError, match=r"teacher.goal is 'reward'.* wanted a goal that is seen"):
        teach.run(teach.Config(tmp_path))


def test_answers_of_an_earlier_run_are_learned_from_at_once(tmp_path: Path) -> None:
    earlier, later, third = tmp_path / "earlier", tmp_path / "later", tmp_path / "third"
    fields = {name: value for name, value in TINY.items() if name not in ("seconds_an_answer", "look_every")}
    control.run(from_dict(control.Config, {**fields, "folder": str(earlier), "steps": 160}))
    assert len(given(earlier)) > 5
    result = run(tiny(later, steps=160, labellers="people", look_every=0.0, answers=[str(earlier)]))
    assert (result.answers, result.steps) == (0, 160)  # nobody answers, and it learns all the same
    assert given(later) == []
    assert read_metrics(later / "predictor")
    assert all("control/reward" in line for line in read_metrics(later)[-2:])
    with pytest.raises(DataError, match="nowhere has no feedback"):
        run(tiny(third, steps=80, answers=[str(tmp_path / "nowhere")]))
    assert not third.exists()
