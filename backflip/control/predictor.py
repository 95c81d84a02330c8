"""The reward predictor: an ensemble that learns from comparisons of clips what people prefer (H, section 2.2).

All members are fitted at once, as batched products over a leading dimension of members. An answer counts for a member
as often as a Poisson(1) draw says, which is drawing |D| answers with replacement, told answer by answer (Oza & Russell
2001); where it says 0, as it does for 1/e of the answers, the answer is held out from that member. So a member's
bootstrap and its hold-out are disjoint, and stay so while answers come in. Each member has its own L2, which keeps its
held-out loss at 1.1 to 1.5 times its training loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from backflip.config import LATER, require
from backflip.control.features import Features, Look
from backflip.control.members import ConvolutionalMembers, DenseMembers
from backflip.control.policies import Normaliser
from backflip.control.segments import Segment
from backflip.control.spaces import Space
from backflip.errors import DataError, TrainingDiverged
from backflip.maths.preference import bradley_terry_loss
from backflip.records import content_id

__all__ = ["Comparisons", "Ensemble", "PredictorSettings", "adapted", "bootstrap_counts"]

STEP = 1.25  # what a member's L2 is multiplied or divided by at a look
LOOK_EVERY = 25  # fitting steps from one look at the held-out loss to the next


@dataclass(frozen=True)
class PredictorSettings:
    """The predictor's own numbers; H's unless said."""

    members: int = 3
    """Predictors in the ensemble."""
    hidden: int = 64
    """Units of each of the two hidden layers (vectors; pictures have H's convolutions)."""
    lapse: float = 0.1
    """The share of answers that are taken for noise."""
    learning_rate: float = 1e-3
    """Adam's."""
    minibatch: int = 32
    """Answers of a step."""
    l2: float = 0.1
    """Every member's L2 at the start; it adapts. 0: there is none, ever."""
    ratio: tuple[float, float] = (1.1, 1.5)
    """L2 falls where held-out loss over training loss is below the first, and rises above the second."""
    look: Look = "observation"
    """What is read of a vector: the observation; for the Hopper also each link's height and touch (kinematics), or
    velocities, heights and touches alone (motion)."""
    target: Literal["comparisons", "scores"] = field(default="comparisons", metadata=LATER)
    """What is fitted: which clip is better; or, to compare with, the very scores of clips by a simulated teacher."""
    std: float = 1.0
    """Deviation of the rewards that the agent gets (H: 1 for MuJoCo, 0.05 for Atari)."""

    def __post_init__(self) -> None:
        for name in ("members", "hidden", "minibatch"):
            require(getattr(self, name) >= 1, name, seen=getattr(self, name), wanted="1 or more")
        require(0 <= self.lapse < 1, "lapse", seen=self.lapse, wanted="a share in [0, 1)")
        for name in ("learning_rate", "std"):
            require(getattr(self, name) > 0, name, seen=getattr(self, name), wanted="a number above 0")
        require(0 < self.ratio[0] <= self.ratio[1], "ratio", seen=self.ratio, wanted="two rising numbers above 0")


@dataclass(frozen=True)
class Comparisons:
    """Answers to "which of two clips is better", all of one length. `target` is 1, 0, or 0.5 for a tie.

    `scores` are a simulated teacher's of each clip, where it tells them: no person can.
    """

    observations: Tensor  # (answers, 2, steps, *observation)
    actions: Tensor  # (answers, 2, steps, n) or (answers, 2, steps)
    target: Tensor  # (answers,), how far the first is preferred
    keys: tuple[str, ...]  # of the answers: which member an answer counts for follows from it
    scores: Tensor | None = None  # (answers, 2)

    def __len__(self) -> int:
        return len(self.target)

    @classmethod
    def of(cls, answers: Iterable[tuple[Segment, Segment, float, str]]) -> Comparisons:
        """From (first, second, target, key) of each answer; DataError where clips differ in length or none is there."""
        rows = list(answers)
        lengths = {len(segment) for first, second, _, _ in rows for segment in (first, second)}
        if len(lengths) != 1:
            raise DataError(
                f"the compared clips are {sorted(lengths) or 'none'} steps long; wanted clips of one length: "
                "use the clip length of the runs whose answers are reused"
            )
        return cls(
            _stack([(a.observations, b.observations) for a, b, _, _ in rows]),
            _stack([(a.actions, b.actions) for a, b, _, _ in rows]),
            torch.tensor([target for _, _, target, _ in rows], dtype=torch.float32),
            tuple(key for _, _, _, key in rows),
        )

    def join(self, other: Comparisons) -> Comparisons:
        """These and then those."""
        return Comparisons(
            torch.cat([self.observations, other.observations]),
            torch.cat([self.actions, other.actions]),
            torch.cat([self.target, other.target]),
            self.keys + other.keys,
            None if self.scores is None or other.scores is None else torch.cat([self.scores, other.scores]),
        )

    def last(self, count: int) -> Comparisons:
        """The newest `count` of them (H trains on the last 3,000 in Atari)."""
        scores = None if self.scores is None else self.scores[-count:]
        return Comparisons(
            self.observations[-count:], self.actions[-count:], self.target[-count:], self.keys[-count:], scores
        )


class _Inputs(NamedTuple):
    """Comparisons as the nets read them, worked out once a fit."""

    parts: tuple[Tensor, ...]  # (answers, 2, steps, ..) each: pictures and actions, or one vector of numbers
    target: Tensor  # (answers,)
    counts: Tensor  # (members, answers)
    scores: Tensor | None  # (answers, 2), of mean 0 and deviation 1, where these are fitted


def _stack(pairs: Sequence[tuple[Any, Any]]) -> Tensor:
    return torch.from_numpy(np.stack([np.stack(pair) for pair in pairs]))


def bootstrap_counts(keys: Sequence[str], *, members: int, seed: int) -> Tensor:
    """How often each answer counts for each member, (members, answers): Poisson(1), by seed, member and answer."""
    counts = np.empty((members, len(keys)), dtype=np.float32)
    for member in range(members):
        for i, key in enumerate(keys):
            draw = np.random.default_rng(int(content_id("bootstrap", seed, member, key)[:16], 16))
            counts[member, i] = draw.poisson(1.0)
    return torch.from_numpy(counts)


class Ensemble:
    """What is held for the reward: the mean over members, each normalised to mean 0 and one deviation."""

    def __init__(self, space: Space, settings: PredictorSettings, *, seed: int) -> None:
        self.space, self.settings, self.seed = space, settings, seed
        count = settings.members
        self._features = None if space.image else Features(space, settings.look)
        size = 0 if self._features is None else self._features.size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net: torch.nn.Module = (
                ConvolutionalMembers(count, space.observation, space.actions)
                if space.image
                else DenseMembers(count, size + space.actions, settings.hidden)
            )
        self.draw = torch.Generator().manual_seed(seed)
        self.look = Normaliser(size)
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=settings.learning_rate, fused=True)
        self.l2 = torch.full((count,), settings.l2)
        self.mean, self.deviation = torch.zeros(count), torch.ones(count)
        self._counts: dict[str, Tensor] = {}

    # --- what it says

    @torch.no_grad()
    def rewards(self, observations: Tensor, actions: Tensor) -> Tensor:
        """The reward of each step, of any leading shape: mean over normalised members, times the wanted deviation."""
        raw = self._net(*self._read(observations, actions))
        normal = (raw - self.mean[:, None]) / self.deviation[:, None]
        shape = observations.shape[: -len(self.space.observation)]
        return normal.mean(dim=0).reshape(shape) * self.settings.std

    @torch.no_grad()
    def sums(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Each member's undiscounted sum over each clip, (members, clips), of (clips, steps, ..) inputs."""
        seen, acted = self._read(observations, actions)
        return self._net(seen, acted).view(len(self.l2), *observations.shape[:2]).sum(dim=-1)

    @torch.no_grad()
    def normalise(self, observations: Tensor, actions: Tensor) -> None:
        """Sets each member's scale so that these steps (of any leading shape) have mean 0 and deviation 1."""
        raw = self._net(*self._read(observations, actions))
        self.mean, self.deviation = raw.mean(dim=1), raw.std(dim=1, unbiased=False).clamp(min=1e-6)

    def _read(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """What the net takes in, steps first: pictures or features, not normalised; actions as numbers."""
        ahead = len(observations.shape) - len(self.space.observation)
        seen = observations.flatten(0, ahead - 1)
        if self._features is not None:
            seen = self._features(seen)
        acted = actions.flatten(0, ahead - 1)
        if self.space.discrete:
            return seen, torch.nn.functional.one_hot(acted.long(), self.space.actions).float()
        return seen, acted.float().clamp(-1, 1)

    def _parts(self, seen: Tensor, acted: Tensor) -> tuple[Tensor, ...]:
        """The net's arguments."""
        return (seen, acted) if self._features is None else (torch.cat([self.look(seen), acted], dim=-1),)

    def _net(self, seen: Tensor, acted: Tensor) -> Tensor:  # (steps, ..) -> (members, steps)
        return self.net(*self._parts(seen, acted))  # type: ignore[no-any-return]

    # --- how it learns

    def fit(self, data: Comparisons, *, steps: int) -> dict[str, float]:
        """So many steps down the loss; the L2 of each member adapts on the way. Returns metrics."""
        read = self._inputs(data, fresh=True)
        size = min(self.settings.minibatch, len(data))
        self.net.train()
        for step in range(steps):
            self._step(read, torch.randint(len(data), (size,), generator=self.draw))
            if step % LOOK_EVERY == LOOK_EVERY - 1 or step == steps - 1:
                self.net.eval()
                train, held, right = self._losses(read)
                if self.settings.l2:
                    self.l2 = adapted(self.l2, held / train, self.settings.ratio)
                self.net.train()
        self.net.eval()
        metrics = {
            "predictor/loss": float(train.nanmean()),
            "predictor/held_out_loss": float(held.nanmean()),
            "predictor/held_out_accuracy": float(right.nanmean()),
            "predictor/l2": float(self.l2.log().mean().exp()),
            "predictor/answers": float(len(data)),
        }
        return {name: value for name, value in metrics.items() if not math.isnan(value)}  # nothing may be held out yet

    def _inputs(self, data: Comparisons, *, fresh: bool = False) -> _Inputs:
        """`fresh`: vectors are normalised by the moments of these from now on."""
        shape = data.observations.shape[:3]
        seen, acted = self._read(data.observations, data.actions)
        if fresh and self._features is not None:
            self.look.forget()
            self.look.see(seen)
        parts = tuple(x.unflatten(0, shape) for x in self._parts(seen, acted))
        scores = self._scores(data) if self.settings.target == "scores" else None
        return _Inputs(parts, data.target, self._bootstrap(data.keys), scores)

    def _scores(self, data: Comparisons) -> Tensor:
        if data.scores is None:
            raise DataError("the answers come without scores; wanted a simulated teacher's, to fit target 'scores'")
        return (data.scores - data.scores.mean()) / data.scores.std().clamp(min=1e-6)

    def _both(self, read: _Inputs, picked: Tensor, member: int | None = None) -> tuple[Tensor, Tensor]:
        """The sums over the first and over the second clip of the picked answers, (members, picked), or of a member."""
        parts = [x[picked] for x in read.parts]
        flat = [x.flatten(0, 2) for x in parts]
        said = self.net(*flat) if member is None else self.net.member(member, *flat)  # type: ignore[operator]
        first, second = said.unflatten(-1, parts[0].shape[:3]).sum(dim=-1).unbind(dim=-1)
        return first, second

    def _loss(self, read: _Inputs, picked: Tensor) -> Tensor:
        """The sum of the members' losses, each a mean over the picked answers as often as they count for it."""
        counts = read.counts[:, picked]
        weight = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
        if self._features is None:  # batch norm takes in all pictures; convolutions are one call for all members
            return self._compare(*self._both(read, picked), read, picked, weight)
        losses = []
        for member, mine in enumerate(weight):
            counted = mine.nonzero().squeeze(1)  # the others are held out from this member: no need to look at them
            if len(counted):
                chosen = picked[counted]
                losses.append(self._compare(*self._both(read, chosen, member), read, chosen, mine[counted]))
        return torch.stack(losses).sum() if losses else torch.zeros(())

    def _compare(self, first: Tensor, second: Tensor, read: _Inputs, picked: Tensor, weight: Tensor) -> Tensor:
        """Of the clips' sums, (.., picked): the sum of what is weighted so."""
        if read.scores is not None:
            error = (torch.stack([first, second], dim=-1) - read.scores[picked]).square().mean(dim=-1)
            return (weight * error).sum()
        target, lapse = read.target[picked].expand_as(first), self.settings.lapse
        return bradley_terry_loss(better=first, worse=second, target=target, weight=weight, lapse=lapse)

    def _step(self, read: _Inputs, picked: Tensor) -> None:
        loss = self._loss(read, picked)
        squares = sum(p.square().flatten(1).sum(dim=1) for p in self._weights())
        self.optimiser.zero_grad(set_to_none=True)
        (loss + (self.l2 * squares).sum()).backward()
        self.optimiser.step()
        if not bool(loss.isfinite()):
            raise TrainingDiverged(
                f"the predictor's loss is {float(loss)}; wanted a finite one: lower predictor.learning_rate, or look "
                "for broken observations in the compared clips"
            )

    def _weights(self) -> list[Tensor]:
        return list(self.net.member_weights())  # type: ignore[operator]

    def losses(self, data: Comparisons) -> tuple[Tensor, Tensor, Tensor]:
        """Each member's training loss, held-out loss and held-out share of right strict pairs; NaN without any."""
        return self._losses(self._inputs(data))

    @torch.no_grad()
    def _losses(self, read: _Inputs) -> tuple[Tensor, Tensor, Tensor]:
        both = [self._both(read, part) for part in torch.arange(len(read.target)).split(64)]
        first, second = (torch.cat(side, dim=1) for side in zip(*both, strict=True))
        held = (read.counts == 0).float()
        return (
            self._mean_losses(first, second, read, read.counts),
            self._mean_losses(first, second, read, held),
            _right(first, second, read.target, held),
        )

    def _mean_losses(self, first: Tensor, second: Tensor, read: _Inputs, weight: Tensor) -> Tensor:
        every = torch.arange(len(read.target))
        parts = zip(first, second, weight, strict=True)
        return torch.stack([self._compare(a, b, read, every, w / w.sum()) for a, b, w in parts])

    def _bootstrap(self, keys: Sequence[str]) -> Tensor:
        fresh = [key for key in keys if key not in self._counts]
        drawn = bootstrap_counts(fresh, members=len(self.l2), seed=self.seed)
        self._counts.update(zip(fresh, drawn.unbind(dim=1), strict=True))
        return torch.stack([self._counts[key] for key in keys], dim=1)

    # --- its checkpoint

    def state(self) -> dict[str, Any]:
        """All of it but the answers."""
        return {
            "net": self.net.state_dict(),
            "look": self.look.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "draw": self.draw.get_state(),
            "l2": self.l2,
            "mean": self.mean,
            "deviation": self.deviation,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to a checkpoint."""
        for name in ("net", "look", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.draw.set_state(state["draw"])
        self.l2, self.mean, self.deviation = state["l2"], state["mean"], state["deviation"]


def adapted(l2: Tensor, ratio: Tensor, wanted: tuple[float, float]) -> Tensor:
    """L2 of each member after a look at held-out over training loss; NaN (nothing held out) changes none."""
    low, high = wanted
    factor = torch.where(ratio > high, STEP, torch.where(ratio < low, 1 / STEP, 1.0))
    return (l2 * factor).clamp(1e-7, 1.0)


def _right(first: Tensor, second: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    strict = weight * (target != 0.5)
    agree = ((first > second) == (target > 0.5)).float()
    return (agree * strict).sum(dim=1) / strict.sum(dim=1)
