"""The look: how the agent does now, for people's eyes alone. Nothing that learns ever reads what is written here.

The newest checkpoint plays one episode; `look.json` in the run's folder then names its clip and tells the predicted
reward of each step, how that goes with the true reward, the answers, and how it went before (docs/clips.md has the
form). A process apart, so that the true reward is in no process of the agent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from backflip.control.agents import make_agent
from backflip.control.clips import Filming
from backflip.control.contest import play
from backflip.control.evaluator import FIRST_SEED
from backflip.control.flips import count_flips
from backflip.control.segments import Recorder, Segment
from backflip.control.spaces import Space
from backflip.errors import DataError, DependencyError
from backflip.feedback.media import Media
from backflip.feedback.store import Store
from backflip.recipes.control_processes.config import Config, Newest, ensemble_of
from backflip.runs.files import atomic_write_json, atomic_write_text
from backflip.runs.metrics import read_metrics

__all__ = ["CLIPS", "LOOK", "look_once", "watch"]

LOOK, CLIPS = "look.json", "clips.jsonl"
_SHOWN = 8  # clips that are kept, the newest
_POLL = 0.5  # seconds between two looks for a new checkpoint
_HISTORY = 500  # looks that are told of
_SEED = FIRST_SEED + 2**20  # starts that neither training nor the evaluation uses


def watch(config: Config, fingerprint: str) -> None:
    """Looks at every new checkpoint until the process is ended."""
    with ExitStack() as stack:
        watcher = _Watcher(config, fingerprint, stack)
        while True:
            watcher.turn()
            time.sleep(max(_POLL, config.look_every))


def look_once(config: Config, fingerprint: str) -> None:
    """Looks at the newest checkpoint: the last word, when all has ended."""
    with ExitStack() as stack:
        _Watcher(config, fingerprint, stack).turn()


class _Watcher:
    def __init__(self, config: Config, fingerprint: str, stack: ExitStack) -> None:
        self.config = config
        self.space: Space = config.space()
        self.agents, self.predictors = Newest(config.agents, fingerprint), Newest(config.predictors, fingerprint)
        self.media = Media(config.clips)
        self.film = stack.enter_context(Filming(self.media))
        self.store = stack.enter_context(Store.open(config.place))
        self.predictor: Mapping[str, Any] | None = None
        self.path = config.folder / LOOK
        earlier = json.loads(self.path.read_bytes()) if self.path.exists() else {}
        self.history: list[dict[str, Any]] = earlier.get("history", [])
        path = config.folder / CLIPS
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.clips: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def turn(self) -> None:
        """Tells of the newest checkpoint, or of the answers alone where there is no new one."""
        if found := self.predictors.look():
            self.predictor = found.state
        if found := self.agents.look():
            self.tell(found.state)

    def tell(self, state: Mapping[str, Any]) -> None:
        played = _play(self.config, self.space, state["learner"]["agent"])
        predicted = self.predict(played)
        true = played.true
        episode = {
            "true_return": float(true.sum()),
            "correlation": _correlation(predicted, true),
            "flips": self.flips(played.segment),
        }
        clip = self.show(played.segment)
        steps = int(state["steps"])
        now = {"steps": steps, **episode, **self.answers()}
        self.history = [*(line for line in self.history if line["steps"] < steps), _brief(now)][-_HISTORY:]
        about = {"version": 1, "time": datetime.now(UTC).isoformat(timespec="seconds"), "env": self.config.env.env}
        strip = None if predicted is None else [round(float(r), 4) for r in predicted]
        content = {**about, **now, "clip": clip, "predicted": strip, "history": self.history}
        atomic_write_json(self.path, content)
        if clip:
            self.keep({"step": steps, "media": clip, "label": f"{now['answers']} answers"})

    def keep(self, line: dict[str, Any]) -> None:
        """The newest clips, a line each; older ones are deleted, for no question shows them."""
        self.clips = [c for c in self.clips if c["media"] != line["media"]] + [line]
        old, self.clips = self.clips[:-_SHOWN], self.clips[-_SHOWN:]
        text = "".join(json.dumps(c) + "\n" for c in self.clips)
        atomic_write_text(self.config.folder / CLIPS, text)
        for gone in old:
            self.media.drop(gone["media"])

    def predict(self, played: _Played) -> NDArray[np.float64] | None:
        if self.predictor is None:
            return None
        ensemble = ensemble_of(self.config, self.space, self.predictor["ensemble"])
        seen, done = torch.from_numpy(played.segment.observations), torch.from_numpy(played.segment.actions)
        ensemble.normalise(seen, done)
        return ensemble.rewards(seen, done).double().numpy()

    def answers(self) -> dict[str, Any]:
        """What people gave, what waits for them, what is left of the budget, and how well it is foretold."""
        counts = self.store.counts(self.config.project)
        lines = read_metrics(self.config.predictors)
        return {
            "answers": counts.answers,
            "waiting": counts.wanted,
            "budget": self.config.asking.budget,
            "accuracy": lines[-1].get("predictor/held_out_accuracy") if lines else None,
        }

    def show(self, segment: Segment) -> str | None:
        try:
            return self.film(segment)
        except (DataError, DependencyError):  # no renderer, or nothing to be seen: the figures are told all the same
            return None

    def flips(self, segment: Segment) -> dict[str, float] | None:
        if segment.states is None or not segment.env.startswith("Hopper"):
            return None
        return asdict(count_flips(segment.states))


class _Played:
    """One episode, and its true rewards."""

    def __init__(self, recorder: Recorder) -> None:
        (self.segment, rewards), *_ = recorder.cut([(0, 0)], len(recorder))
        self.true = np.zeros(len(self.segment)) if rewards is None else rewards


def _play(config: Config, space: Space, agent: Mapping[str, Any]) -> _Played:
    policy = make_agent(space, config.learns, count=config.env.count, seed=config.seed)
    policy.restore(agent)
    return _Played(play(policy, replace(config.env, count=1), seed=_SEED + config.seed, witness=True))


def _correlation(predicted: NDArray[np.float64] | None, true: NDArray[np.float64]) -> float | None:
    """Pearson's, over the episode's steps; None where one of them does not vary."""
    if predicted is None or predicted.std() < 1e-9 or true.std() < 1e-9:
        return None
    return round(float(np.corrcoef(predicted, true)[0, 1]), 4)


def _brief(now: Mapping[str, Any]) -> dict[str, Any]:
    flips = now["flips"]
    kept = {name: now[name] for name in ("steps", "true_return", "correlation", "answers", "accuracy")}
    return kept | {"clean_flips": None if flips is None else flips["clean_flips"]}
