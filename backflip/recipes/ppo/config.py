"""What a PPO run is configured by, and what it gives back. The defaults are P's."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from backflip.config import NOT_FINGERPRINTED, require
from backflip.lm.optim import Schedule, constant, linear_to_zero

__all__ = ["KL", "Adapter", "Config", "Judge", "Ptx", "Rates", "Result", "Scores", "Value"]

_COUNTS = (
    "updates",
    "batch",
    "samples",
    "minibatch",
    "inner_epochs",
    "max_tokens",
    "tokens_per_pass",
    "rows",
    "checkpoint_every",
)


@dataclass(frozen=True)
class Judge:
    """The held-out judge that picks the best policy, the one that PPO starts from included."""

    spec: tuple[tuple[str, float], ...] = ()  # as `reward`; none: the last weights are kept
    split: str = "validation"  # of the prompt set
    every: int = 10  # updates; the start and the last update are always judged

    def __post_init__(self) -> None:
        require(self.every >= 1, "judge.every", seen=self.every, wanted="1 or more")


@dataclass(frozen=True)
class Value:
    """The value net and its loss."""

    start: Path | None = None  # reward folder that it starts from; none: the policy's trunk, a fresh head
    zero_head: bool = False  # the head starts at 0: what a reward model says of half a text foretells little
    clip: float = 0.2
    coefficient: float = 0.1
    warmup: int = 0  # first updates in which it learns alone (detail 17)

    def __post_init__(self) -> None:
        for name in ("clip", "coefficient"):
            require(getattr(self, name) > 0, f"value.{name}", seen=getattr(self, name), wanted="above 0")
        require(self.warmup >= 0, "value.warmup", seen=self.warmup, wanted="0 or more updates")


@dataclass(frozen=True)
class Rates:
    """Adam's learning rates."""

    policy: float = 9e-6
    value: float = 9e-6
    schedule: Literal["constant", "linear"] = "constant"  # after the warm-up (P), or to 0 (A, C)
    warmup: int = 10  # constant: updates from 1/10 of the rate to all of it (P)

    def __post_init__(self) -> None:
        for name in ("policy", "value"):
            require(getattr(self, name) > 0, f"rates.{name}", seen=getattr(self, name), wanted="above 0")
        require(self.warmup >= 0, "rates.warmup", seen=self.warmup, wanted="0 or more updates")

    def share(self, updates: int) -> Schedule:
        """Share of the learning rates by update, of a run of so many (detail 13)."""
        return constant(warmup=self.warmup) if self.schedule == "constant" else linear_to_zero(updates)


@dataclass(frozen=True)
class Scores:
    """From the reward model's scores to rewards."""

    normalise: bool = False  # running mean 0 and variance 1 of the scores
    no_eos: float | None = -1.0  # replaces the score of a cut-off answer (detail 8); none keeps the reward's
    whiten: bool = False  # the rewards of all tokens to variance 1


@dataclass(frozen=True)
class KL:
    """The leash to the reference (details 1, 2)."""

    beta: float = 0.02  # nats -> reward; P: 0 and 2 are both bad
    target: float | None = None  # adaptive: the sequence KL in nats to steer to; None keeps beta fixed
    horizon: int = 10_000  # episodes over which adaptive beta moves
    budget: float | None = None  # training ends when an update's mean sequence KL exceeds this many nats

    def __post_init__(self) -> None:
        require(self.beta >= 0, "kl.beta", seen=self.beta, wanted="0 or more")
        require(self.target is None or self.target > 0, "kl.target", seen=self.target, wanted="nats above 0, or none")
        require(self.budget is None or self.budget > 0, "kl.budget", seen=self.budget, wanted="nats above 0, or none")


@dataclass(frozen=True)
class Ptx:
    """PPO-ptx: pretraining text whose gradient enters the same optimiser step (P, section 3.5, eq. 2)."""

    text: tuple[Path, ...] = ()  # plain text files; none is plain PPO
    examples: int = 8  # an episode
    weight: float = 27.8  # gamma_ptx
    length: int = 128  # tokens an example

    def __post_init__(self) -> None:
        require(self.examples >= 1, "ptx.examples", seen=self.examples, wanted="1 or more an episode")
        require(self.weight >= 0, "ptx.weight", seen=self.weight, wanted="0 or more")
        require(self.length >= 2, "ptx.length", seen=self.length, wanted="2 tokens or more")


@dataclass(frozen=True)
class Adapter:
    """What is trained: LoRA on the upper layers of policy and value net, or (rank 0) all weights."""

    rank: int = 0  # of the policy's LoRA; 0 trains all weights
    layers: int = 0  # upper layers that carry it; 0 is all
    value_rank: int = 0  # of the value net's; 0 trains all weights
    value_layers: int = 0
    alpha: float = 32.0

    def __post_init__(self) -> None:
        for name in ("rank", "layers", "value_rank", "value_layers"):
            require(getattr(self, name) >= 0, f"adapter.{name}", seen=getattr(self, name), wanted="0 or more")
        require(self.alpha > 0, "adapter.alpha", seen=self.alpha, wanted="above 0")


@dataclass(frozen=True)
class Config:
    """The defaults are P's; a laptop wants fewer episodes and LoRA (see docs/ppo.md)."""

    policy: Path  # the SFT folder: where the policy starts, and the KL reference
    reward: tuple[tuple[str, float], ...]  # (reward folder or python:module:function, weight)
    store: str = field(metadata=NOT_FINGERPRINTED)  # where the prompts are: a path or URL
    folder: Path = field(default=Path("runs/ppo"), metadata=NOT_FINGERPRINTED)
    combine: Literal["sum", "worst"] = "sum"  # of several rewards, times their weights: the sum, or the least
    prompts: str = "default"  # the prompt set
    split: str = "train"
    updates: int = 500  # 256,000 episodes in batches of 512
    batch: int = 512  # episodes an update
    samples: int = 1  # episodes a prompt
    minibatch: int = 64  # episodes an optimiser step
    inner_epochs: int = 1
    max_tokens: int = 64
    temperature: float = 1.0  # of sampling and scoring alike (detail 9)
    clip: float = 0.2
    lam: float = 0.95  # gamma is 1
    rescore: bool = False  # old logprobs by a forward pass rather than the sampler's (detail 15)
    ema: float = 0.992  # decay of the weights' moving average, which is what is saved; 0 saves the last weights
    max_norm: float = 1.0  # of each gradient
    rates: Rates = Rates()
    value: Value = Value()
    scores: Scores = Scores()
    judge: Judge = Judge()
    kl: KL = KL()
    ptx: Ptx = Ptx()
    adapter: Adapter = Adapter()
    tokens_per_pass: int = field(default=4096, metadata=NOT_FINGERPRINTED)
    rows: int = 32  # decoded side by side
    checkpoint_every: int = field(default=10, metadata=NOT_FINGERPRINTED)
    reload_frozen: bool = field(default=False, metadata=NOT_FINGERPRINTED)  # frozen models: from disk for each use
    seed: int = 0

    def __post_init__(self) -> None:
        for name in _COUNTS:
            require(getattr(self, name) >= 1, name, seen=getattr(self, name), wanted="1 or more")
        for name in ("clip", "max_norm"):
            require(getattr(self, name) > 0, name, seen=getattr(self, name), wanted="above 0")
        require(0 <= self.seed < 2**32, "seed", seen=self.seed, wanted="0 to below 2^32")
        require(bool(self.reward), "reward", seen=self.reward, wanted="at least one (spec, weight)")
        require(self.batch % self.minibatch == 0, "batch", seen=self.batch, wanted=f"a multiple of {self.minibatch}")
        require(
            self.minibatch % self.samples == 0, "minibatch", seen=self.minibatch, wanted=f"a multiple of {self.samples}"
        )
        require(self.temperature > 0, "temperature", seen=self.temperature, wanted="above 0: PPO needs exploration")
        require(0 <= self.ema < 1, "ema", seen=self.ema, wanted="0 (off) to below 1")
        require(0 <= self.lam <= 1, "lam", seen=self.lam, wanted="0 to 1")
        require(
            self.kl.target is None or 5 * self.kl.horizon > self.batch,
            "kl.horizon",
            seen=self.kl.horizon,
            wanted=f"above a fifth of the batch of {self.batch}, for beta to stay positive",
        )

    @property
    def prompts_per_batch(self) -> int:
        return self.batch // self.samples


@dataclass(frozen=True)
class Result:
    """Where the policy is, and how training ended."""

    model: str
    updates: int
    best_update: int  # whose weights `model` holds; 0 is the policy that PPO started from
    judge: float | None  # the held-out judge's mean on validation prompts, at best_update
    stopped: str  # "finished" or "kl budget"

    def __str__(self) -> str:
        judged = "" if self.judge is None else f", {self.judge:.3f} by the held-out judge on validation prompts"
        return f"policy in {self.model} (update {self.best_update} of {self.updates}, {self.stopped}{judged})"
