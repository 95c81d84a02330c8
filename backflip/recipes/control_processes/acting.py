"""The agent's process: acts, leaves clips in the pool, learns from the newest predictor. It waits for nobody.

It opens no store and reads no answer. While there is no predictor it explores as it is, slowly once the pool is full,
says that it waits, and none of that counts as training. Only with `patience` does it let people catch up.
"""

from __future__ import annotations

import logging
import time

from backflip.control.learner import Learner
from backflip.control.pool import Pack
from backflip.control.predictor import Ensemble
from backflip.recipes.control_processes.config import Config, Newest, ensemble_of, learner_of
from backflip.runs.checkpoint import load_latest, save
from backflip.runs.metrics import MetricsWriter, require_finite

__all__ = ["act"]

_log = logging.getLogger(__name__)
_CLIPS = 64  # a pack
_IDLE = 0.5  # seconds between rollouts of an agent that waits
_LOOK = 0.1  # seconds between two looks for a newer predictor where it lets people catch up
_SAID = 30.0  # seconds until it says so again


def act(config: Config, fingerprint: str) -> None:
    """Trains until all steps are done, from the last checkpoint on; then the last checkpoint is the result."""
    agent = _Agent(config, fingerprint)
    try:
        agent.work()
    finally:
        agent.close()


class _Agent:
    def __init__(self, config: Config, fingerprint: str) -> None:
        self.config, self.fingerprint = config, fingerprint
        self.learner: Learner = learner_of(config)
        self.newest = Newest(config.predictors, fingerprint)
        self.ensemble: Ensemble | None = None
        self.refitted = False  # since the rewards were last on one scale
        self.answers = 0
        self.idle = 0  # rollouts without a predictor
        self.cpu = 0.0
        self.said = -_SAID
        self.heard = time.monotonic()  # when the newest answers came
        if found := load_latest(config.agents, fingerprint=fingerprint):
            self.learner.restore(found.state["learner"])
            self.idle, self.cpu = int(found.state["idle"]), float(found.state["cpu"])
        self.metrics = MetricsWriter(config.folder)
        self.metrics.truncate(self.learner.rollouts)

    @property
    def trained(self) -> int:
        """Rollouts that count."""
        return self.learner.rollouts - self.idle

    @property
    def steps(self) -> int:
        return self.trained * self.config.learns.steps * self.config.env.count

    def work(self) -> None:
        while self.trained < self.config.rollouts:
            self.let_catch_up()
            started = time.process_time()
            metrics = self.turn()
            self.cpu += time.process_time() - started
            require_finite(self.learner.rollouts, metrics)
            self.metrics.write(self.learner.rollouts, metrics | {"time/cpu": self.cpu})
            if self.learner.rollouts % self.config.checkpoint_every == 0:
                self.save()
        self.save()

    def turn(self) -> dict[str, float]:
        """One rollout, and what is learned from it."""
        learner, config = self.learner, self.config
        learner.rollout()
        clips = learner.segments(_CLIPS, config.clip, purpose="clips")
        config.pool.leave(Pack(learner.rollouts, self.steps, clips))
        self.look()
        if self.ensemble is None:
            return self.wait()
        anew, self.refitted = self.refitted, False
        rewards = learner.judged(self.ensemble, anew=anew)
        return {
            "control/steps": self.steps,
            "control/answers": self.answers,
            "control/reward": float(rewards.mean()),
            **learner.learn(rewards, self.trained / config.rollouts),
        }

    def look(self) -> None:
        """Takes the newest predictor, if there is a newer one."""
        if found := self.newest.look():
            self.ensemble = ensemble_of(self.config, self.learner.envs.space, found.state["ensemble"])
            self.refitted = True
            if int(found.state["answers"]) != self.answers:
                self.answers, self.heard = int(found.state["answers"]), time.monotonic()

    def let_catch_up(self) -> None:
        """Where it is further on than the answers warrant: waits for the next ones, as long as its patience lasts."""
        while self.ensemble is not None and self.config.ahead(self.steps, self.answers):
            if time.monotonic() - self.heard >= self.config.patience:
                return
            time.sleep(_LOOK)
            self.look()

    def wait(self) -> dict[str, float]:
        metrics = self.learner.explore()
        self.idle += 1
        if time.monotonic() - self.said >= _SAID:
            self.said = time.monotonic()
            _log.warning("no answers to learn from yet: the agent explores and waits")
        time.sleep(_IDLE)  # clips enough are there; the cores are better used by those who answer and learn
        return metrics | {"control/steps": self.steps, "control/answers": 0, "control/waiting": 1.0}

    def save(self) -> None:
        state = {"learner": self.learner.state(), "idle": self.idle, "cpu": self.cpu, "steps": self.steps}
        save(self.config.agents, self.learner.rollouts, state, fingerprint=self.fingerprint)

    def close(self) -> None:
        self.metrics.close()
        self.learner.close()
