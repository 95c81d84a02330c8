"""Actor and critic: what to do at an observation, and what is to be expected from there on.

Vectors go through two hidden layers, pictures through the convolutions of the Atari agents. Observations are
normalised by the moments of what has been seen, which lie in the checkpoint with the weights; an angle that grows
without end is read as its sine and cosine, so that the tenth turn looks like the first.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from backflip.control.features import Features
from backflip.control.spaces import Space
from backflip.errors import TrainingDiverged

__all__ = ["ActorCritic", "Choice", "Normaliser"]


class Normaliser(nn.Module):
    """Mean 0 and deviation 1 over all that was seen; values beyond 10 deviations are cut."""

    count: Tensor
    mean: Tensor
    var: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("var", torch.ones(size, dtype=torch.float64))

    def forget(self) -> None:
        """Back to knowing nothing."""
        self.count.zero_()
        self.mean.zero_()
        self.var.fill_(1)

    @torch.no_grad()
    def see(self, x: Tensor) -> None:  # (batch, size)
        """Adds a batch to the moments (Chan 1979)."""
        x = x.double()
        count, mean, var = float(len(x)), x.mean(dim=0), x.var(dim=0, unbiased=False)
        if not bool(mean.isfinite().all()):
            raise TrainingDiverged("observations are NaN or infinite; wanted finite ones: go on from a checkpoint")
        total = self.count + count
        gap = mean - self.mean
        spread = self.var * self.count + var * count + gap.square() * self.count * count / total
        self.mean += gap * count / total
        self.var.copy_(spread / total)
        self.count.copy_(total)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.var.add(1e-8).rsqrt().float()
        return ((x - self.mean.float()) * scale).clamp(-10, 10)


class Choice(NamedTuple):
    """What was done at a step, and what the policy thought of it."""

    actions: Tensor  # (batch, n) or (batch,)
    logprobs: Tensor  # (batch,)
    values: Tensor  # (batch,), of normalised returns


class ActorCritic(nn.Module):
    """A policy and a value net of the same shape; over pictures they share the convolutions."""

    def __init__(self, space: Space, *, hidden: int = 64, log_std: float = -0.5) -> None:
        super().__init__()
        self.space = space
        if space.image:
            self.body: nn.Module = _convolutions(space.observation)
            self.policy: nn.Module = _linear(512, space.actions, gain=0.01)
            self.value: nn.Module = _linear(512, 1, gain=1.0)
        else:
            self.features = Features(space)
            self.body = Normaliser(self.features.size)
            self.policy = _mlp(self.features.size, hidden, space.actions, gain=0.01)
            self.value = _mlp(self.features.size, hidden, 1, gain=1.0)
        if not space.discrete:
            self.log_std = nn.Parameter(torch.full((space.actions,), log_std))

    def read(self, observations: Tensor) -> Tensor:
        """Observations as the nets take them in: features, not yet normalised, or pictures."""
        return observations if self.space.image else self.features(observations)

    def see(self, read: Tensor) -> None:
        """Adds to the normaliser's moments."""
        if isinstance(self.body, Normaliser):
            self.body.see(read)

    def _seen(self, read: Tensor) -> Tensor:
        seen: Tensor = self.body(read.float() / 255 if self.space.image else read)
        return seen

    def values(self, observations: Tensor) -> Tensor:  # (batch,)
        value: Tensor = self.value(self._seen(self.read(observations))).squeeze(-1)
        return value

    @torch.no_grad()
    def choose(self, observations: Tensor, draw: torch.Generator | None) -> Choice:
        """Samples actions, or takes the most likely ones where there is no generator."""
        seen = self._seen(self.read(observations))
        out, values = self.policy(seen), self.value(seen).squeeze(-1)
        if self.space.discrete:
            if draw is None:
                actions = out.argmax(dim=-1)
            else:
                actions = torch.multinomial(out.softmax(dim=-1), 1, generator=draw).squeeze(-1)
        else:
            actions = out
            if draw is not None:
                actions = out + self.log_std.exp() * torch.randn(out.shape, generator=draw)
        return Choice(actions, self._logprobs(out, actions), values)

    def judge(self, read: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities of actions, values, and the policy's entropy, (batch,) each, of what `read` gave."""
        seen = self._seen(read)
        out = self.policy(seen)
        return self._logprobs(out, actions), self.value(seen).squeeze(-1), self._entropy(out)

    def _logprobs(self, out: Tensor, actions: Tensor) -> Tensor:
        if self.space.discrete:
            return out.log_softmax(dim=-1).gather(-1, actions[:, None]).squeeze(-1)
        z = (actions - out) * torch.exp(-self.log_std)
        return -0.5 * z.square().sum(dim=-1) - self.log_std.sum() - 0.5 * math.log(2 * math.pi) * out.shape[-1]

    def _entropy(self, out: Tensor) -> Tensor:
        if self.space.discrete:
            logs = out.log_softmax(dim=-1)
            return -(logs.exp() * logs).sum(dim=-1)
        each = self.log_std.sum() + 0.5 * (1 + math.log(2 * math.pi)) * out.shape[-1]
        return each.expand(out.shape[0])


def _linear(inputs: int, outputs: int, *, gain: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def _mlp(inputs: int, hidden: int, outputs: int, *, gain: float) -> nn.Sequential:
    root2 = math.sqrt(2)
    return nn.Sequential(
        _linear(inputs, hidden, gain=root2),
        nn.Tanh(),
        _linear(hidden, hidden, gain=root2),
        nn.Tanh(),
        _linear(hidden, outputs, gain=gain),
    )


def _convolutions(shape: tuple[int, ...]) -> nn.Sequential:
    """Mnih et al. 2015: 32 filters of 8, 64 of 4, 64 of 3, and a dense layer of 512."""
    layers = [nn.Conv2d(shape[0], 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3, 1)]
    body = nn.Sequential(*layers, nn.ReLU(), nn.Flatten())
    with torch.no_grad():
        size = body(torch.zeros(1, *shape)).shape[1]
    return nn.Sequential(*body, _linear(size, 512, gain=math.sqrt(2)), nn.ReLU())
