"""The predictor's process: asks about the agent's newest clips, hears the answers, fits, and publishes. Until ended.

All that it must not forget is in the store, so it may be killed at any time: it begins with the newest predictor that
it published, and hears every answer again. Answers that were withdrawn count no more from its next start on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from backflip.control.asking import choose_pairs, due, random_pairs
from backflip.control.clips import Filming
from backflip.control.conversation import Clip
from backflip.control.learner import seed_of
from backflip.control.pace import Pace, Waiting
from backflip.feedback.media import Media
from backflip.feedback.store import Store
from backflip.recipes.control import earlier_answers
from backflip.recipes.control_processes.config import Config, conversation_of, ensemble_of
from backflip.runs.checkpoint import load_latest, save
from backflip.runs.metrics import MetricsWriter

__all__ = ["learn"]

_log = logging.getLogger(__name__)
_LOOK = 0.1  # seconds between two looks into the store
_EVERY = 1.0  # seconds between two fits, at least


def learn(config: Config, fingerprint: str) -> None:
    """Asks, hears, fits and publishes until the process is ended."""
    with ExitStack() as stack:
        predictor = _Predictor(config, fingerprint, stack)
        while True:
            if not predictor.turn():
                time.sleep(_LOOK)


class _Predictor:
    def __init__(self, config: Config, fingerprint: str, stack: ExitStack) -> None:
        self.config, self.fingerprint = config, fingerprint
        found = load_latest(config.predictors, fingerprint=fingerprint)
        self.ensemble = ensemble_of(config, config.space(), found.state["ensemble"] if found else None)
        self.fits = found.step if found else 0
        self.pool = config.pool
        self.store = stack.enter_context(Store.open(config.place))
        film = stack.enter_context(Filming(Media(config.clips)))
        self.talk = conversation_of(config, self.store, film)
        self.metrics = stack.enter_context(MetricsWriter(config.predictors, tensorboard=False))
        self.metrics.truncate(self.fits)
        self.pace = Pace()
        self.waiting = Waiting(max(1, round(config.expire_share * config.steps)))
        self.heard, self.count, self.expired = 0, 0, 0
        self.reused = earlier_answers(config)
        self.data = self.reused
        self.unfitted = 0 if self.reused is None else len(self.reused)
        self.fitted = -_EVERY
        self.recall(int(found.state["answers"]) if found else 0)

    # --- one turn

    def turn(self) -> bool:
        """All that there is to do now; whether there was anything."""
        now = time.monotonic()
        _, steps = self.pool.latest()
        if stale := self.waiting.expire(steps=steps, now=now):
            self.store.retire(stale)
            self.expired += len(stale)
        heard, asked = self.hear(now), self.ask(steps, now)
        first = self.config.asking.first if self.reused is None else 0
        ready = self.unfitted and self.count >= min(first, self.config.asking.budget)
        if ready and now - self.fitted >= _EVERY:
            self.fit()
            return True
        return bool(heard or asked)

    def hear(self, now: float) -> int:
        """Takes in the answers that came since."""
        fresh = list(self.talk.answers(after=self.heard))
        if not fresh:
            return 0
        self.pace.heard(len(fresh), now)
        self.waiting.answered(answer.question for _, answer in fresh)
        self.take(fresh)
        return len(fresh)

    def take(self, fresh: list[tuple[int, Any]]) -> None:
        said = self.talk.comparisons(fresh)
        if said is not None:
            self.data = said if self.data is None else self.data.join(said)
            if self.config.last_answers:
                self.data = self.data.last(self.config.last_answers)
        self.heard = fresh[-1][0]
        self.count += len(fresh)
        self.unfitted += len(fresh)

    def ask(self, steps: int, now: float) -> int:
        """Asks what is due and what people have time for, about the newest clips."""
        asking = self.config.asking
        room = self.pace.room(
            due=due(asking, step=steps, steps=self.config.steps),
            asked=self.count + len(self.waiting),
            waiting=len(self.waiting),
            now=now,
        )
        packs = self.pool.newest(count=1 if self.fits else 99) if room else []
        clips = [clip for pack in packs for clip in pack.clips]
        if room <= 0 or len(clips) < 2:
            return 0
        before = self.store.counts(self.config.project, purpose=self.talk.purpose).questions
        questions = self.talk.ask(
            self.chosen(clips, room), origin=f"rollout {packs[-1].rollout}", priority=float(packs[-1].steps)
        )
        self.waiting.add((question.id for question in questions), steps=steps, now=now)
        return self.store.counts(self.config.project, purpose=self.talk.purpose).questions - before

    def chosen(self, clips: list[Clip], count: int) -> list[tuple[Clip, Clip]]:
        """Pairs by the rule of the configuration, out of several times as many."""
        asking = self.config.asking
        seed = seed_of(self.config.seed, "pairs", self.count, len(self.waiting), self.fits)
        pairs = random_pairs(len(clips), count * asking.factor, np.random.default_rng(seed))
        sums = self.ensemble.sums(
            torch.from_numpy(np.stack([segment.observations for segment, _ in clips])),
            torch.from_numpy(np.stack([segment.actions for segment, _ in clips])),
        )
        method = asking.method if self.fits else "random"
        lapse = self.config.predictor.lapse
        chosen = choose_pairs(sums, pairs, count=count, method=method, seed=seed, lapse=lapse)
        return [(clips[i], clips[j]) for i, j in chosen]

    def fit(self) -> None:
        """Fits on all answers, and publishes what came of it."""
        self.unfitted = 0
        if self.data is None:
            _log.warning("%d answers, and none says which clip is better: the agent goes on exploring", self.count)
            return
        metrics = self.ensemble.fit(self.data, steps=self.config.fit if self.fits else self.config.first_fit)
        self.fits += 1
        self.publish(metrics)
        self.fitted = time.monotonic()

    def publish(self, metrics: Mapping[str, float]) -> None:
        counts = {"control/waiting_questions": len(self.waiting), "control/expired_questions": self.expired}
        about = {**metrics, **counts, "control/answers_a_minute": self.pace.a_minute(time.monotonic())}
        state = {"ensemble": self.ensemble.state(), "answers": self.count}
        save(self.config.predictors, self.fits, state, fingerprint=self.fingerprint, keep=3)
        self.metrics.write(self.fits, about)

    # --- after a start

    def recall(self, fitted: int) -> None:
        """What the store knows: answers so far, `fitted` of them before, and the questions that still wait."""
        fresh = list(self.talk.answers())
        answered = {answer.question for _, answer in fresh}
        if fresh:
            self.take(fresh)
        if self.fits:
            self.unfitted = max(0, self.count - fitted)
        left = self.store.counts(self.config.project, purpose=self.talk.purpose).wanted
        if left:
            asked = self.store.questions(project=self.config.project, purpose=self.talk.purpose)
            unanswered = [question.id for question in asked if question.id not in answered]
            _, steps = self.pool.latest()
            self.waiting.add(unanswered[-left:], steps=steps, now=time.monotonic())
