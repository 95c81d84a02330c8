"""Starts the processes of a control run, starts anew what was killed, and ends with the agent's evaluation.

Each process may be killed at any time, this one too: the others then end by themselves, and the same command goes on.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import numpy as np

from backflip.config import dump
from backflip.control.agents import make_agent
from backflip.control.evaluator import evaluate
from backflip.errors import BackflipError, CheckpointError
from backflip.feedback.projects import Project, Projects
from backflip.feedback.store import Store
from backflip.recipes.control import Result, require_earlier
from backflip.recipes.control_processes.config import Config, read_config
from backflip.recipes.control_processes.watching import look_once
from backflip.runs import Parent, open_run, progress
from backflip.runs.checkpoint import load_latest
from backflip.runs.files import atomic_write_json, sweep_partial
from backflip.runs.metrics import read_metrics

__all__ = ["PROCESSES", "run"]

_log = logging.getLogger(__name__)
_LOOK = 0.2  # seconds between two looks at the processes
_STARTS, _WITHIN = 5, 60.0  # a process that dies more often than that is not started again
_GRACE = 5.0  # seconds that a process has to end
PROCESSES = "processes.json"


def run(config: Config, *, ready: Callable[[], None] | None = None) -> Result:
    """Runs all to the end of training, and evaluates; the same folder goes on, with every answer kept.

    Raises what a process raised on purpose; CheckpointError where one dies again and again; DataError where a run
    whose answers are to be reused is not there.
    """
    require_earlier(config)
    parents = [Parent("data", str(folder / "feedback.db"), {}) for folder in config.answers]
    with open_run(
        config.folder, recipe="control_processes", config=config, seed=config.seed, parents=parents
    ) as ledger:
        if not ledger.done:
            atomic_write_json(config.folder / "control.json", dump(config))
            with _Crew(config, ledger.fingerprint) as crew:
                if ready:
                    ready()
                crew.work()
            if config.look_every:
                look_once(config, ledger.fingerprint)
            ledger.finish(asdict(_result(config, ledger.fingerprint)))
        return Result(**ledger.result)


def _roles(config: Config) -> list[str]:
    simulated = ["answering"] if config.labellers == "simulated" else []
    watched = ["watching"] if config.look_every else []
    return ["acting", "learning", *simulated, *watched]


class _Crew:
    """The processes. Those that end with an error of their own end all; those that were killed are started again."""

    def __init__(self, config: Config, fingerprint: str) -> None:
        self.config, self.fingerprint = config, fingerprint
        self.context: ForkServerContext = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["backflip.recipes.control_processes.roles"])
        self.members: dict[str, ForkServerProcess] = {}
        self.starts: dict[str, list[float]] = {}
        self.answers, self.since = 0, time.monotonic()  # so many were counted last, and when there were more

    def __enter__(self) -> _Crew:
        self.store = Store.open(self.config.place)  # before the others, so that not all migrate it at once
        projects, name = Projects(self.store), self.config.project
        if self.config.labellers == "people" and projects.find(name) is None:
            projects.save(Project(name))  # so that people find it before the first question is there
        for role in _roles(self.config):
            self.start(role)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.members.values():
            process.terminate()
        for process in self.members.values():
            process.join(_GRACE)
            if process.is_alive():
                process.kill()
                process.join()
        for folder in (self.config.folder, self.config.agents, self.config.predictors):
            sweep_partial(folder)  # whoever was ended at a checkpoint makes no other, which would have swept it
        self.store.close()

    def start(self, role: str) -> None:
        now = time.monotonic()
        self.starts[role] = [t for t in self.starts.get(role, []) if t > now - _WITHIN] + [now]
        if len(self.starts[role]) > _STARTS:
            raise CheckpointError(
                f"the process {role!r} was killed {_STARTS} times within {_WITHIN:.0f} s; see {self.log(role)}, give "
                "it what it lacks (memory?), and start the same command again: nothing is lost"
            )
        arguments = (role, str(self.config.folder), self.fingerprint, str(self.log(role)))
        process = self.context.Process(target=_begin, args=arguments, name=role, daemon=True)
        process.start()
        self.members[role] = process
        pids = {name: member.pid for name, member in self.members.items()}
        atomic_write_json(self.config.folder / PROCESSES, {"supervisor": os.getpid(), **pids})

    def log(self, role: str) -> Path:
        return self.config.folder / "logs" / f"{role}.log"

    def work(self) -> None:
        """Until the agent has made all its steps."""
        rollouts, done = self.config.rollouts, 0
        with progress(rollouts, "control") as step:
            while True:
                agent = self.members["acting"]
                agent.join(_LOOK)
                trained, note = self.trained()
                step(trained - done, note=note)
                done = trained
                if agent.exitcode == 0:
                    return
                for role, process in list(self.members.items()):
                    if not process.is_alive():
                        self.mend(role, process)

    def mend(self, role: str, process: ForkServerProcess) -> None:
        code = process.exitcode or 0
        if code > 0:  # it ended by itself, and has said why
            said = (self.log(role).read_text(encoding="utf-8").strip().splitlines() or ["nothing"])[-1]
            raise BackflipError(f"the process {role!r} ended: {said} (all it said is in {self.log(role)})")
        _log.warning("the process %r was killed (signal %d): it is started again", role, -code)
        self.start(role)

    def trained(self) -> tuple[int, str]:
        """Rollouts that count, and how it goes, in words."""
        config, lines = self.config, read_metrics(self.config.folder)
        answers = self.store.counts(config.project).answers
        if answers != self.answers:
            self.answers, self.since = answers, time.monotonic()
        steps = int(lines[-1]["control/steps"]) if lines else 0
        waits = ""
        if not lines or lines[-1].get("control/waiting"):
            waits = f", waiting for the first {min(config.asking.first, config.asking.budget)}"
        elif config.patience and config.ahead(steps, answers):
            goes_on = time.monotonic() - self.since >= config.patience
            waits = ", going on without more" if goes_on else ", waiting for more"
        return steps // (config.learns.steps * config.env.count), f"{steps} steps, {answers} answers{waits}"


def _begin(role: str, folder: str, fingerprint: str, log: str) -> None:
    """In the new process: its output into a file, its life no longer than the supervisor's."""
    from backflip.recipes.control_processes.roles import ROLES

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to deal with
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with Path(log).open("a", buffering=1, encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        ROLES[role](read_config(Path(folder)), fingerprint)
    except BackflipError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(error.exit_code)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)  # as safe as any other end, and it comes at once


def _result(config: Config, fingerprint: str) -> Result:
    """The last policy, evaluated apart."""
    found = load_latest(config.agents, fingerprint=fingerprint)
    if found is None:
        raise CheckpointError(f"no checkpoint of the agent is left in {config.agents}; start the same command again")
    agent = make_agent(config.space(), config.learns, count=config.env.count, seed=config.seed)
    agent.restore(found.state["learner"]["agent"])
    seen = evaluate(
        lambda observations: agent.act(observations, greedy=True).actions.numpy(),
        config.env,
        episodes=config.episodes,
        horizon=config.evaluation_horizon,
    )
    with Store.open(config.place) as store:
        answers = store.counts(config.project).answers
    return Result(
        env=config.env.env,
        reward=config.reward,
        steps=int(found.state["steps"]),
        answers=answers,
        cpu_seconds=round(float(found.state["cpu"]), 1),
        true_return=float(np.mean(seen.true_returns)),
        flips=None if seen.mean_flips is None else asdict(seen.mean_flips),
    )
