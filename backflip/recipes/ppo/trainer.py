"""The models that PPO trains, their optimisers, and everything that a checkpoint must hold (detail 18)."""

from __future__ import annotations

import math
from typing import Any

import torch

from backflip.config import require
from backflip.errors import ConfigError
from backflip.lm.heads import Causal, Scalar, trainable
from backflip.lm.lower import LowerStates
from backflip.lm.optim import EMA, adam
from backflip.lm.pretraining import Documents
from backflip.lm.rewards import Rewards
from backflip.lm.sampler import LocalSampler, Sampler, SamplerConfig
from backflip.lm.tokens import Tokens
from backflip.maths.moments import RunningMoments
from backflip.recipes.ppo.config import Config
from backflip.recipes.ppo.frozen import Frozen
from backflip.runs.checkpoint import restore_rng, rng_state
from backflip.runs.ranks import World, all_gather_objects

__all__ = ["Trainer"]


class Trainer:
    """The models and everything that a checkpoint must hold."""

    def __init__(
        self,
        config: Config,
        ranks: World,
        *,
        reward: Frozen[Rewards],
        judge: Frozen[Rewards] | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        """Draws the adapters from torch's global generator. Raises ConfigError, DataError or ModelError."""
        trees = config.minibatch // config.samples
        require(trees >= ranks.size, "minibatch", seen=f"{trees} prompts", wanted=f"one for each of {ranks.size} ranks")
        self.config, self.ranks, self.reward, self.judge = config, ranks, reward, judge
        device = str(ranks.device)
        adapter = config.adapter
        self.policy = Causal.load(config.policy, device=device).eval()  # no dropout, the sampler's way back included
        self.policy.adapt(rank=adapter.rank, layers=adapter.layers, alpha=adapter.alpha)
        self.tokens = Tokens(self.policy.tokenizer, name=f"the tokenizer of {config.policy}")
        self.reference = Frozen(self._reference, keep=not config.reload_frozen or adapter.rank > 0)
        self.value = _value_net(config, device)
        if config.value.zero_head:
            self.value.clear()
        self.value.adapt(rank=adapter.value_rank, layers=adapter.value_layers, alpha=adapter.alpha)
        self.policy_lower, self.value_lower = LowerStates(self.policy), LowerStates(self.value)
        self.policy_parameters, self.value_parameters = trainable([self.policy]), trainable([self.value])
        self.policy_optimiser = adam(self.policy_parameters, rate=config.rates.policy)
        self.value_optimiser = adam(self.value_parameters, rate=config.rates.value)
        self.ema = EMA(self.policy_parameters, config.ema)
        settings = SamplerConfig(config.max_tokens, config.temperature, config.rows, config.seed)
        self.sampler = sampler or LocalSampler(self.policy, settings)
        self.documents = self._documents()
        self.beta = config.kl.beta
        self.moments = RunningMoments()
        self.update, self.best, self.best_update, self.stopped = 0, -math.inf, 0, ""

    def _reference(self) -> Causal:
        """Where the policy started: itself without its adapters, or a second model."""
        if self.config.adapter.rank:
            return self.policy
        return Causal.load(self.config.policy, device=str(self.ranks.device)).eval().requires_grad_(False)

    def _documents(self) -> Documents | None:
        ptx = self.config.ptx
        if not ptx.text:
            return None
        return Documents(self.tokens, ptx.text, length=ptx.length, seed=self.config.seed)

    @property
    def over(self) -> bool:
        """Whether no update is left to do."""
        return self.update == self.config.updates or bool(self.stopped)

    def state(self) -> dict[str, Any]:
        """All that decides what comes next (detail 18); prompts and draws follow from `update` and the seed.

        Every rank has to ask, for it holds the random state of each.
        """
        return {
            "policy": [p.detach() for p in self.policy_parameters],
            "value": [p.detach() for p in self.value_parameters],
            "policy_optimiser": self.policy_optimiser.state_dict(),
            "value_optimiser": self.value_optimiser.state_dict(),
            "ema": self.ema.state(),
            "beta": self.beta,
            "moments": self.moments.state(),
            "rng": all_gather_objects(rng_state(), self.ranks),  # rank by rank
            "best": [self.best, self.best_update],
            "stopped": self.stopped,
        }

    def load(self, update: int, state: dict[str, Any]) -> None:
        """Takes up the state after `update` updates."""
        with torch.no_grad():
            for parameters, saved in ((self.policy_parameters, "policy"), (self.value_parameters, "value")):
                for parameter, value in zip(parameters, state[saved], strict=True):
                    parameter.copy_(value)
        self.policy_optimiser.load_state_dict(state["policy_optimiser"])
        self.value_optimiser.load_state_dict(state["value_optimiser"])
        self.ema.load(state["ema"])
        self.beta, self.moments = state["beta"], RunningMoments(**state["moments"])
        restore_rng(state["rng"][self.ranks.rank % len(state["rng"])])
        self.best, self.best_update = state["best"]
        self.update, self.stopped = update, state["stopped"]


def _value_net(config: Config, device: str) -> Scalar:
    start_from = config.value.start
    if start_from is not None:
        value = Scalar.load(start_from, device=device).eval()
        wanted = Tokens.load(config.policy)
        if Tokens(value.tokenizer).tokenizer.get_vocab() != wanted.tokenizer.get_vocab():
            raise ConfigError(
                f"value.start is {start_from}, whose tokenizer differs from {config.policy}'s; a value net reads "
                "the policy's tokens: leave value.start out (a fresh head on the policy's trunk), or give one that does"
            )
        return value
    start = Causal.load(config.policy, device=device)
    return Scalar.on_trunk(start.backbone, start.tokenizer, seed=config.seed).eval()
