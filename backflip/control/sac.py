"""SAC with relabelling, as PEBBLE (arXiv 2106.05091): off-policy, so that each step is learned from many times.

The four verbs of PPO: act, record, returns (into the replay), update. What the replay holds is worth what the predictor
says by now: `relabel`. Before anybody is asked it may explore for the entropy of the states that it sees; then the
critics, which believed in that, begin anew.

SAC is Haarnoja et al. 2018 (arXiv 1812.05905): a squashed Gaussian, twin critics with slow targets, a temperature that
keeps the entropy at -1 nat an action. All gradient steps of an update draw from the replay at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backflip.config import require
from backflip.control.features import Features
from backflip.control.members import DenseMembers
from backflip.control.policies import Normaliser
from backflip.control.replay import Judge, Replay, Transitions
from backflip.control.spaces import Space
from backflip.errors import ConfigError, TrainingDiverged
from backflip.maths.soft import log_distances, soft_targets, squashed_logprobs, temperature_loss

__all__ = ["SAC", "Deed", "SACSettings", "SquashedGaussian"]

REFERENCES = 1024  # states among which neighbours are looked for


@dataclass(frozen=True)
class SACSettings:
    """SAC's own numbers."""

    steps: int = 100
    """Steps of every environment in a rollout; the horizon is a multiple of it."""
    ratio: int = 16
    """Environment steps for each gradient step of the critics (SAC and PEBBLE: 1)."""
    policy_every: int = 2
    """Critic steps for each step of the policy."""
    batch: int = 256
    """Steps of a gradient step."""
    replay: int = 1_000_000
    """Steps that are remembered."""
    gamma: float = 0.99
    """Discount."""
    tau: float = 0.005
    """The share by which the targets follow the critics at each of their steps."""
    learning_rate: float = 1e-3
    """Adam's."""
    alpha: float = 0.1
    """The temperature at the start; it adapts."""
    hidden: int = 128
    """Units of each of the two hidden layers."""
    pretrain: int = 0
    """Environment steps that explore for the entropy of states before the first question (PEBBLE: 9,000)."""
    neighbour: int = 5
    """Which nearest neighbour tells the entropy (PEBBLE: 5)."""

    def __post_init__(self) -> None:
        for name in ("steps", "ratio", "policy_every", "batch", "replay", "hidden", "neighbour"):
            require(getattr(self, name) >= 1, name, seen=getattr(self, name), wanted="1 or more")
        require(self.pretrain >= 0, "pretrain", seen=self.pretrain, wanted="0 or more")
        require(0 <= self.gamma < 1, "gamma", seen=self.gamma, wanted="0 to below 1, for no episode ends")
        require(0 < self.tau <= 1, "tau", seen=self.tau, wanted="above 0, and 1 at most")
        for name in ("learning_rate", "alpha"):
            require(getattr(self, name) > 0, name, seen=getattr(self, name), wanted="a number above 0")


class Deed(NamedTuple):
    """What was done at a step."""

    actions: Tensor  # (batch, n), in (-1, 1)


class SquashedGaussian(nn.Module):
    """Actions tanh(u), where u is Gaussian."""

    def __init__(self, inputs: int, hidden: int, actions: int) -> None:
        super().__init__()
        self.look = Normaliser(inputs)  # of what is read before it comes here; it is part of the policy
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2 * actions)
        )

    def mode(self, seen: Tensor) -> Tensor:
        """What is done where nothing is left to chance."""
        mean: Tensor = self.layers(seen).chunk(2, dim=-1)[0]
        return mean.tanh()

    def forward(self, seen: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (batch, n) and their log-probabilities, from standard normal noise (batch, n)."""
        mean, log_std = self.layers(seen).chunk(2, dim=-1)
        log_std = log_std.clamp(-5, 2)
        before = mean + log_std.exp() * noise
        plain = -(0.5 * noise.square() + log_std).sum(dim=-1) - 0.5 * math.log(2 * math.pi) * noise.shape[-1]
        return before.tanh(), squashed_logprobs(logprobs=plain, before=before)


class SAC:
    """An agent of `count` environments. It never sees where its rewards come from."""

    remembers = True

    def __init__(self, space: Space, settings: SACSettings, *, count: int, seed: int) -> None:
        if space.image or space.discrete:
            raise ConfigError(
                f"SAC is for vectors and box actions, and {space.env} has {'pictures' if space.image else 'choices'}; "
                "wanted another environment, or PPO (algorithm ppo)"
            )
        self.space, self.settings, self.count = space, settings, count
        self.read = Features(space)
        self.draw = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = SquashedGaussian(self.read.size, settings.hidden, space.actions)
            self.critics, self.targets = self._critics(), self._critics()
        self.look = self.net.look
        self.log_alpha = nn.Parameter(torch.tensor(math.log(settings.alpha)))
        self.replay = Replay(
            steps=settings.steps, count=count, capacity=settings.replay, observation=space.size, actions=space.actions
        )
        self.lived = 0  # environment steps that were explored or learned from
        self.wondering = False  # whether what the critics believe in is curiosity
        self._observations: list[Tensor] = []
        self._actions: list[Tensor] = []
        self._begin()

    def _critics(self) -> DenseMembers:
        return DenseMembers(2, self.read.size + self.space.actions, self.settings.hidden)

    def _begin(self) -> None:
        """Targets at the critics, and fresh optimisers."""
        self.targets.load_state_dict(self.critics.state_dict())
        self._theirs: list[Tensor] = list(self.critics.parameters())
        self._slow: list[Tensor] = list(self.targets.parameters())
        self._its: list[Tensor] = [*self.net.parameters(), self.log_alpha]
        self._critic_adam, self._policy_adam = _adam(self._theirs, self.settings), _adam(self._its, self.settings)

    @property
    def curious(self) -> bool:
        return self.lived < self.settings.pretrain

    # --- the four verbs

    @torch.no_grad()
    def act(self, observations: NDArray[Any], *, greedy: bool = False) -> Deed:
        """What to do in each environment; with the most likely actions where `greedy`."""
        seen = self.look(self.read(torch.from_numpy(observations)))
        if greedy:
            return Deed(self.net.mode(seen))
        return Deed(self.net(seen, self._noise(len(seen)))[0])

    def record(self, observations: NDArray[Any], choice: Deed) -> None:
        """Keeps a step of the rollout."""
        self._observations.append(torch.from_numpy(np.array(observations)))
        self._actions.append(choice.actions)

    def returns(self, rewards: Tensor, last: NDArray[Any]) -> dict[str, float]:
        """Takes the recorded rollout and its rewards, (steps, count), into the replay, with what came after it."""
        seen = torch.stack([*self._observations, torch.from_numpy(np.array(last))])
        self.look.see(self.read(seen).flatten(0, 1))
        self.replay.add(observations=seen, actions=torch.stack(self._actions), rewards=rewards)
        self.lived += rewards.numel()
        self.drop()
        return {"agent/replay": float(len(self.replay))}

    def update(self, done: float = 0.0) -> dict[str, float]:  # noqa: ARG002
        """A gradient step for each `ratio` steps of the rollout; metrics, means over it. Raises TrainingDiverged."""
        settings = self.settings
        updates = max(1, settings.steps * self.count // settings.ratio)
        drawn = self.replay.draw((updates, settings.batch), self.draw)
        parts = Transitions(self._seen(drawn.observations), drawn.actions, drawn.rewards, self._seen(drawn.following))
        sums: list[dict[str, Tensor]] = []
        for number in range(updates):
            part = Transitions(*(x[number] for x in parts))
            found = self._improve_critics(part)
            if number % settings.policy_every == 0:
                sums.append(found | self._improve_policy(part.observations))
        metrics = {name: float(torch.stack([s[name] for s in sums]).mean()) for name in sums[0]}
        if not all(map(math.isfinite, metrics.values())):
            raise TrainingDiverged(
                f"the agent's losses are {metrics}; wanted finite numbers: lower sac.learning_rate, and go on from the "
                "last checkpoint"
            )
        return metrics | {"agent/alpha": float(self.log_alpha.detach().exp())}

    def drop(self) -> None:
        """Forgets the recorded steps."""
        self._observations, self._actions = [], []

    # --- what PEBBLE adds

    def explore(self, last: NDArray[Any]) -> dict[str, float]:
        """Learns to go where it has not been; what `pretrain` does not cover is dropped."""
        if not self.curious:
            self.drop()
            return {}
        self.wondering = True
        metrics = self.returns(torch.zeros(len(self._actions), self.count), last)
        among = self._seen(self.replay.sample(REFERENCES, self.draw))
        neighbour = min(self.settings.neighbour, len(among))

        def novelty(observations: Tensor, _: Tensor) -> Tensor:
            return log_distances(self._seen(observations).flatten(0, 1), among, neighbour=neighbour).view(
                observations.shape[:2]
            )

        self.replay.relabel(novelty)
        kept = self.replay.rewards[: self.replay.filled]
        metrics["agent/state_entropy"] = float(kept.mean())
        kept.copy_((kept - kept.mean()) / (kept.std() + 1e-6))
        return metrics | self.update()

    def relabel(self, judge: Judge) -> None:
        """Gives all that it remembers the rewards that `judge` says; critics that believed in curiosity begin anew."""
        self.replay.relabel(judge)
        if self.wondering:
            self.wondering = False
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(torch.randint(2**62, (), generator=self.draw)))
                self.critics = self._critics()
            self._begin()

    # --- steps

    def _seen(self, observations: Tensor) -> Tensor:
        seen: Tensor = self.look(self.read(observations))
        return seen

    def _noise(self, count: int) -> Tensor:
        return torch.randn(count, self.space.actions, generator=self.draw)

    def _improve_critics(self, part: Transitions) -> dict[str, Tensor]:
        with torch.no_grad():
            actions, logprobs = self.net(part.following, self._noise(len(part.rewards)))
            target = soft_targets(
                rewards=part.rewards,
                next_values=self.targets(torch.cat([part.following, actions], dim=-1)),
                next_logprobs=logprobs,
                gamma=self.settings.gamma,
                alpha=self.log_alpha.exp(),
            )
        values = self.critics(torch.cat([part.observations, part.actions], dim=-1))  # (2, batch)
        loss = 0.5 * (values - target).square().mean(dim=1).sum()
        _descend(loss, self._theirs, self._critic_adam)
        with torch.no_grad():
            torch._foreach_lerp_(self._slow, self._theirs, self.settings.tau)
        return {"agent/critic_loss": loss.detach(), "agent/value": values.detach().mean()}

    def _improve_policy(self, seen: Tensor) -> dict[str, Tensor]:
        actions, logprobs = self.net(seen, self._noise(len(seen)))
        values = self.critics(torch.cat([seen, actions], dim=-1)).amin(dim=0)
        loss = (self.log_alpha.exp().detach() * logprobs - values).mean()
        warmth = temperature_loss(log_alpha=self.log_alpha, logprobs=logprobs, entropy=-float(self.space.actions))
        _descend(loss + warmth, self._its, self._policy_adam)
        return {"agent/actor_loss": loss.detach(), "agent/entropy": -logprobs.detach().mean()}

    # --- its checkpoint

    def state(self) -> dict[str, Any]:
        """All of it, the replay too, between two rollouts."""
        kept = {name: getattr(self, name).state_dict() for name in _MODULES}
        return kept | {
            "critic_adam": self._critic_adam.state_dict(),
            "policy_adam": self._policy_adam.state_dict(),
            "log_alpha": self.log_alpha.detach().clone(),
            "replay": self.replay.state(),
            "draw": self.draw.get_state(),
            "lived": self.lived,
            "wondering": self.wondering,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to a checkpoint."""
        for name in _MODULES:
            getattr(self, name).load_state_dict(state[name])
        self._critic_adam.load_state_dict(state["critic_adam"])
        self._policy_adam.load_state_dict(state["policy_adam"])
        with torch.no_grad():
            self.log_alpha.copy_(state["log_alpha"])
        self.replay.restore(state["replay"])
        self.draw.set_state(state["draw"])
        self.lived, self.wondering = int(state["lived"]), bool(state["wondering"])


_MODULES = ("net", "critics", "targets")


def _adam(parameters: Iterable[Tensor], settings: SACSettings) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=settings.learning_rate, fused=True)


def _descend(loss: Tensor, parameters: list[Tensor], adam: torch.optim.Adam) -> None:
    """A step of these parameters alone: nothing is worked out for the others that the loss went through."""
    for parameter, grad in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = grad
    adam.step()
