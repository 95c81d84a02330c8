"""PPO as four verbs: act, record, returns, update. The rewards come from outside, after a rollout.

A rollout is `steps` steps of all environments; episodes have a fixed horizon, so it never spans the end of one. What
follows its last step counts by its value, as no episode ever ends for the agent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backflip.config import require
from backflip.control.policies import ActorCritic, Choice
from backflip.control.replay import Judge
from backflip.control.spaces import Space
from backflip.errors import TrainingDiverged
from backflip.maths.advantage import gae
from backflip.maths.moments import RunningMoments, whiten
from backflip.maths.policy import explained_variance, policy_loss, value_loss

__all__ = ["PPO", "PPOSettings"]

LEAST = 0.1  # of the wanted KL at the very end, where it is annealed


@dataclass(frozen=True)
class PPOSettings:
    """PPO's own numbers."""

    steps: int = 200
    """Steps of every environment in a rollout; the horizon is a multiple of it."""
    gamma: float = 0.99
    """Discount (H: 0.995 for MuJoCo, 0.99 for Atari)."""
    lam: float = 0.95
    """GAE's lambda (H: 0.97)."""
    clip: float = 0.2
    """PPO's clip range of the probability ratio."""
    entropy: float = 0.0
    """Weight of the entropy bonus (H: 0.01, Swimmer 0.001)."""
    epochs: int = 8
    """Passes over a rollout."""
    minibatch: int = 1600
    """Steps of a minibatch."""
    learning_rate: float = 1e-3
    """Adam's, at the start."""
    target_kl: float = 0.01
    """The learning rate falls by 1.5 where an epoch's KL is above twice this, and rises where below half; 0: fixed."""
    anneal: float = 0.0
    """Over this share of the run, at its end, the entropy bonus falls to nothing and the wanted KL to a tenth: the
    agent settles."""
    clip_norm: float = 1.0
    """The gradient's norm is at most this."""
    hidden: int = 64
    """Units of each of the two hidden layers."""
    log_std: float = -0.5
    """Log of the actions' deviation at the start."""

    def __post_init__(self) -> None:
        for name in ("steps", "epochs", "minibatch", "hidden"):
            require(getattr(self, name) >= 1, name, seen=getattr(self, name), wanted="1 or more")
        for name in ("gamma", "lam", "anneal"):
            require(0 <= getattr(self, name) <= 1, name, seen=getattr(self, name), wanted="0 to 1")
        for name in ("learning_rate", "clip", "clip_norm"):
            require(getattr(self, name) > 0, name, seen=getattr(self, name), wanted="a number above 0")


class PPO:
    """An agent of `count` environments. It never sees where its rewards come from."""

    remembers = False  # a rollout is learned from once
    curious = False

    def __init__(self, space: Space, settings: PPOSettings, *, count: int, seed: int) -> None:
        self.space, self.settings, self.count = space, settings, count
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = ActorCritic(space, hidden=settings.hidden, log_std=settings.log_std)
        self.draw = torch.Generator().manual_seed(seed)
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=settings.learning_rate, eps=1e-5, fused=True)
        self.rate = settings.learning_rate
        self.scale = RunningMoments()  # of the returns
        self._observations: list[Tensor] = []
        self._choices: list[Choice] = []
        self._batch: dict[str, Tensor] = {}
        self.left = 1.0  # of the entropy bonus and of the wanted KL

    # --- the four verbs

    def act(self, observations: NDArray[Any], *, greedy: bool = False) -> Choice:
        """What to do in each environment; with the most likely actions where `greedy`."""
        return self.net.choose(torch.from_numpy(observations), None if greedy else self.draw)

    def record(self, observations: NDArray[Any], choice: Choice) -> None:
        """Keeps a step of the rollout."""
        self._observations.append(torch.from_numpy(np.array(observations)))
        self._choices.append(choice)

    def returns(self, rewards: Tensor, last: NDArray[Any]) -> dict[str, float]:
        """Advantages and returns of the recorded rollout from its rewards, (steps, count), and what came after it."""
        settings, choices = self.settings, self._choices
        with torch.no_grad():
            after = self._unscale(self.net.values(torch.from_numpy(last)))
        values = self._unscale(torch.stack([c.values for c in choices], dim=1))  # (count, steps)
        towards = rewards.T.clone()
        towards[:, -1] += settings.gamma * after  # gae ends there; the value of what follows is part of the last reward
        mask = torch.ones_like(values)
        found = gae(rewards=towards, values=values, mask=mask, gamma=settings.gamma, lam=settings.lam)
        self.scale = _recent(self.scale).update(found.returns)
        explained = float(explained_variance(values=values, returns=found.returns, mask=mask))
        advantages = whiten(found.advantages, mask)
        flat = {
            "observations": self.net.read(torch.stack(self._observations, dim=1).flatten(0, 1)),
            "actions": torch.stack([c.actions for c in choices], dim=1).flatten(0, 1),
            "logprobs": torch.stack([c.logprobs for c in choices], dim=1).flatten(),
            "advantages": advantages.flatten(),
            "returns": self._rescale(found.returns).flatten(),
            "values": self._rescale(values).flatten(),
        }
        self._batch = flat
        self.drop()
        return {"agent/explained_variance": explained, "agent/return_std": self.scale.std}

    def update(self, done: float = 0.0) -> dict[str, float]:
        """Several epochs over the rollout, after so much of the run; returns metrics, means over the last epoch.

        Raises TrainingDiverged.
        """
        self.left = min(1.0, (1 - done) / self.settings.anneal) if self.settings.anneal else 1.0
        batch, settings = self._batch, self.settings
        total: dict[str, float] = {}
        for _ in range(settings.epochs):
            order = torch.randperm(len(batch["logprobs"]), generator=self.draw)
            parts = order.split(settings.minibatch)
            sums = [self._step({name: x[index] for name, x in batch.items()}) for index in parts]
            total = {name: float(torch.stack([s[name] for s in sums]).mean()) for name in sums[0]}
            self._adapt(total["agent/approx_kl"])
        self.net.see(batch["observations"])
        self._batch = {}
        return total | {"agent/learning_rate": self.rate}

    def drop(self) -> None:
        """Forgets the recorded steps."""
        self._observations, self._choices = [], []

    def explore(self, last: NDArray[Any]) -> dict[str, float]:  # noqa: ARG002
        """Stays as it is: its first policy is random enough."""
        self.drop()
        return {}

    def relabel(self, judge: Judge) -> None:
        """It remembers nothing that could be worth something else."""

    def _step(self, part: Mapping[str, Tensor]) -> dict[str, Tensor]:
        settings = self.settings
        logprobs, values, entropy = self.net.judge(part["observations"], part["actions"])
        mask = torch.ones_like(logprobs)[None]
        policy = policy_loss(
            logprobs=logprobs[None],
            old_logprobs=part["logprobs"][None],
            advantages=part["advantages"][None],
            mask=mask,
            clip=settings.clip,
        )
        value = value_loss(
            values=values[None],
            old_values=part["values"][None],
            returns=part["returns"][None],
            mask=mask,
            clip=torch.inf,
        )
        loss = policy.loss + 0.5 * value.loss - settings.entropy * self.left * entropy.mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), settings.clip_norm)
        if not bool(norm.isfinite()):
            raise TrainingDiverged(
                f"the agent's gradient is {float(norm)}; wanted finite numbers: lower agent.learning_rate, and go on "
                "from the last checkpoint"
            )
        self.optimiser.step()
        return {
            "agent/policy_loss": policy.loss.detach(),
            "agent/value_loss": value.loss.detach(),
            "agent/approx_kl": policy.approx_kl,
            "agent/clip_fraction": policy.clip_fraction,
            "agent/entropy": entropy.mean().detach(),
            "agent/grad_norm": norm,
        }

    def _adapt(self, kl: float) -> None:
        target = self.settings.target_kl * max(self.left, LEAST)
        if not target:
            return
        if kl > 2 * target:
            self.rate = max(1e-5, self.rate / 1.5)
        elif kl < target / 2:
            self.rate = min(1e-2, self.rate * 1.5)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate

    def _unscale(self, values: Tensor) -> Tensor:
        """From what the value net says to returns."""
        return values * self.scale.std + self.scale.mean if self.scale.count else values

    def _rescale(self, returns: Tensor) -> Tensor:
        return (returns - self.scale.mean) / (self.scale.std + 1e-8)

    # --- its checkpoint

    def state(self) -> dict[str, Any]:
        """All of it, between two rollouts."""
        return {
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rate": self.rate,
            "scale": self.scale.state(),
            "draw": self.draw.get_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to a checkpoint."""
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.rate, self.scale = float(state["rate"]), RunningMoments(**state["scale"])
        self.draw.set_state(state["draw"])


def _recent(moments: RunningMoments) -> RunningMoments:
    """The moments at half their weight, so that those of changing rewards are of the last rollouts."""
    half = moments.count // 2
    return RunningMoments(half, moments.mean, moments.squares * half / moments.count) if moments.count else moments
