"""The agent at work: rollouts of a fixed length, seeds of the episodes, and updates from rewards that others give.

Every `reseed_every` rollouts the environments are begun anew from a seed that follows from the run's seed and the
rollout's number: what comes after depends on nothing that came before but the agent, so a checkpoint taken there goes
on bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backflip.config import require
from backflip.control.agents import Settings, make_agent
from backflip.control.envs import EnvSettings, make_envs
from backflip.control.predictor import Ensemble
from backflip.control.segments import Recorder, Segment
from backflip.records import content_id

__all__ = ["Learner", "Stage", "seed_of"]


def seed_of(*parts: Any) -> int:
    """A seed below 2^30 that follows from the parts; evaluations take theirs from there on."""
    return int(content_id("seed", *parts)[:8], 16) % 2**30


class Stage(NamedTuple):
    """Until so many environment steps were made, episodes are `horizon` steps long."""

    until: int
    horizon: int


class Learner:
    """An agent and its environments. `rollout`, then `learn`; between the two the steps lie in `recorder`."""

    def __init__(
        self,
        env: EnvSettings,
        agent: Settings,
        *,
        seed: int,
        reseed_every: int,
        stages: Sequence[Stage] = (),
        stagger: bool = False,
        witness: bool = False,
    ) -> None:
        for horizon in (env.horizon, *(stage.horizon for stage in stages)):
            block = reseed_every * agent.steps
            require(
                horizon % agent.steps == 0 and block % horizon == 0,
                "env.horizon",
                seen=horizon,
                wanted=f"a multiple of a rollout's {agent.steps} steps that divides the {block} between checkpoints",
            )
        self.seed, self._every, self._stages, self._stagger = seed, reseed_every, stages, stagger
        self.recorder = Recorder(env.env)
        self.envs = make_envs(env, witness=self.recorder.witness if witness else None)
        self.agent = make_agent(self.envs.space, agent, count=env.count, seed=seed)
        self.rollouts = 0
        self._observations: NDArray[Any] | None = None

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return self.rollouts * self.agent.settings.steps * self.envs.count

    def rollout(self) -> None:
        """Acts for a rollout's steps; what happened is in `recorder`."""
        observations = self._begin()
        self.recorder.start(self.envs.states())
        for _ in range(self.agent.settings.steps):
            choice = self.agent.act(observations)
            actions = choice.actions.numpy()
            self.agent.record(observations, choice)
            after = self.envs.step(actions)
            self.recorder.record(observations, actions, self.envs.states())
            observations = after
        self._observations = observations
        self.rollouts += 1

    def _begin(self) -> NDArray[Any]:
        """Goes on with the episode, or begins the next; the horizon changes where the environments begin anew."""
        within = self.rollouts % self._every
        begun = (self.rollouts - within) * self.agent.settings.steps * self.envs.count
        stage = next((s for s in self._stages if begun < s.until), None)
        horizon = stage.horizon if stage else self.envs.settings.horizon
        if within == 0 or self._observations is None:
            return self.envs.reset(seed_of(self.seed, "episode", self.rollouts), horizon=horizon)
        rollouts = horizon // self.agent.settings.steps  # of an episode
        late = np.arange(self.envs.count) if self._stagger else np.zeros(self.envs.count, dtype=int)
        anew = (within + late) % rollouts == 0
        if anew.all():
            return self.envs.reset(horizon=horizon)
        return self.envs.renew(anew) if anew.any() else self._observations

    def learn(self, rewards: Tensor, done: float = 0.0) -> dict[str, float]:
        """Updates the agent by the rewards, (steps, count), of the rollout, after so much of the run; metrics."""
        if self._observations is None:
            return {}
        return self.agent.returns(rewards, self._observations) | self.agent.update(done)

    def explore(self) -> dict[str, float]:
        """Where there are no rewards to learn from: the agent's curiosity, if it has some; metrics."""
        return {} if self._observations is None else self.agent.explore(self._observations)

    def judged(self, ensemble: Ensemble, *, anew: bool) -> Tensor:
        """The ensemble's rewards of the rollout, (steps, count).

        Their scale is the rollout's. An agent that remembers has one scale until the ensemble was fitted `anew`, and is
        then told what its past is worth by now.
        """
        seen, done = torch.from_numpy(self.recorder.observations), torch.from_numpy(self.recorder.actions)
        if anew or not self.agent.remembers:
            ensemble.normalise(seen, done)
            self.agent.relabel(ensemble.rewards)
        return ensemble.rewards(seen, done)

    def forget(self) -> None:
        """Drops the rollout without learning from it, as a policy does that is to stay random."""
        self.agent.drop()

    def segments(self, count: int, length: int, *, purpose: str) -> list[tuple[Segment, NDArray[np.float64] | None]]:
        """Segments cut at random from the rollout, each with its sealed rewards."""
        draw = np.random.default_rng(seed_of(self.seed, purpose, self.rollouts))
        envs = draw.integers(self.envs.count, size=count)
        firsts = draw.integers(len(self.recorder) - length + 1, size=count)
        places = sorted({(int(e), int(f)) for e, f in zip(envs, firsts, strict=True)})
        return self.recorder.cut(places, length)

    def state(self) -> dict[str, Any]:
        """For a checkpoint, at a rollout from which the environments begin anew."""
        return {"agent": self.agent.state(), "rollouts": self.rollouts}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to a checkpoint."""
        self.agent.restore(state["agent"])
        self.rollouts = int(state["rollouts"])

    def close(self) -> None:
        self.envs.close()
