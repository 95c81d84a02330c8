"""PPO on text, in the paper's order (P, section 3.5; the twenty details of A, C and P).

`rollout` samples an update's episodes, scores them and estimates advantages; `learn` takes its optimiser steps.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from backflip.lm.data import MicroBatches, epoch_order
from backflip.lm.optim import clip_gradients, set_rate
from backflip.lm.packing import Packed, Tree, split_responses
from backflip.lm.sampler import Completion
from backflip.maths.advantage import gae, sequence_rewards
from backflip.maths.kl import adapt_beta, k1, sequence_kl
from backflip.maths.moments import whiten
from backflip.maths.policy import explained_variance, policy_loss, value_loss
from backflip.recipes.ppo.config import Config
from backflip.recipes.ppo.trainer import Trainer
from backflip.records import Prompt
from backflip.runs.ranks import World, all_gather_objects, average_gradients, shard

__all__ = ["Rollout", "gather", "learn", "rollout"]

T = TypeVar("T")
Ids = tuple[int, ...]


class Rollout(NamedTuple):
    """An update's episodes, those of one prompt side by side. Every rank holds all of them: they are small."""

    trees: list[Tree]  # a prompt and its samples each
    mask: Tensor  # (episodes, response), true on sampled tokens, EOS included
    logprobs: Tensor  # (episodes, response), of the policy that sampled
    values: Tensor  # (episodes, response)
    advantages: Tensor  # (episodes, response), whitened
    returns: Tensor  # (episodes, response)
    prompts: list[Prompt]  # of the trees
    raw: list[float]  # a score an episode, as the reward gave it
    ended: list[bool]
    metrics: dict[str, float]


def rollout(trainer: Trainer, prompts: Sequence[Prompt]) -> Rollout:
    """Samples an update's episodes, scores them, and estimates advantages.

    Each rank samples and scores its share of the prompts; all that follows is reckoned over all of them, on every
    rank alike, so that means, whitening and beta do not depend on how many ranks there are.
    """
    config, clock = trainer.config, _Clock()
    batch = _batch(trainer, prompts)
    share = shard(batch, trainer.ranks)
    ids = [trainer.tokens.opening(prompt) for _, prompt in share]
    sampled = trainer.sampler.sample(ids, samples=config.samples, keys=[visit for visit, _ in share])
    clock.lap("sample")
    groups = gather(_score(trainer, [prompt for _, prompt in share], ids, sampled), trainer.ranks)
    clock.lap("score")

    device = trainer.ranks.device
    lengths = [len(response) for group in groups for response in group.tree.responses]
    seen = _Seen(*(torch.cat(parts).to(device) for parts in zip(*(group.seen for group in groups), strict=True)))
    old, mask = split_responses(seen.logprobs, lengths)
    reference, values = split_responses(seen.reference, lengths)[0], split_responses(seen.values, lengths)[0]
    raw = torch.tensor([score for group in groups for score in group.scores])
    ended = torch.tensor([end for group in groups for end in group.ended])
    scores = _final_scores(trainer, raw, ended)

    kl = k1(logprobs=old, reference=reference)
    rewards = sequence_rewards(kl=kl, scores=scores.to(device), mask=mask, beta=trainer.beta)
    if config.scores.whiten:
        rewards = whiten(rewards, mask, shift_mean=False)
    advantages, returns = gae(rewards=rewards, values=values, mask=mask, gamma=1.0, lam=config.lam)
    mean_kl, mean_score = float(sequence_kl(kl=kl, mask=mask).mean()), float(scores.mean())
    metrics = {
        "objective/kl": mean_kl,
        "objective/entropy": float(seen.entropy.mean()),
        "objective/score": mean_score,
        "objective/raw_score": float(raw.mean()),
        "objective/non_score_reward": -trainer.beta * mean_kl,
        "objective/rlhf_reward": mean_score - trainer.beta * mean_kl,
        "objective/beta": trainer.beta,
        "value/explained_variance": float(explained_variance(values=values, returns=returns, mask=mask)),
        "tokens/mean_length": sum(lengths) / len(lengths),
        "tokens/eos_share": float(ended.float().mean()),
        **clock.rates(sample=sum(lengths), score=sum(group.tree.length for group in groups)),
    }
    trees, asked = [group.tree for group in groups], [prompt for _, prompt in batch]
    whitened = whiten(advantages, mask)
    return Rollout(trees, mask, old, values, whitened, returns, asked, raw.tolist(), ended.tolist(), metrics)


def _batch(trainer: Trainer, prompts: Sequence[Prompt]) -> list[tuple[int, Prompt]]:
    """The update's prompts, each with its number among all visits: the key of its random stream (detail 19)."""
    size, seed = trainer.config.prompts_per_batch, trainer.config.seed
    visits = [divmod(v, len(prompts)) for v in range(trainer.update * size, (trainer.update + 1) * size)]
    orders = {epoch: epoch_order(len(prompts), seed=seed, epoch=epoch) for epoch, _ in visits}
    return [(epoch * len(prompts) + place, prompts[orders[epoch][place]]) for epoch, place in visits]


def gather(share: list[T], ranks: World) -> list[T]:
    """Every rank's `shard` of a list, put together in the list's order."""
    parts = all_gather_objects(share, ranks)
    return [parts[i % ranks.size][i // ranks.size] for i in range(sum(map(len, parts)))]


class _Seen(NamedTuple):
    """What one pass saw at the sampled tokens, all (scored,)."""

    logprobs: Tensor  # of the policy that sampled
    entropy: Tensor
    reference: Tensor  # log-probabilities under the reference
    values: Tensor


class _Group(NamedTuple):
    """The episodes of one prompt."""

    tree: Tree
    ended: list[bool]
    scores: list[float]  # as the reward gave them
    seen: _Seen  # on the CPU


def _score(
    trainer: Trainer, prompts: Sequence[Prompt], ids: Sequence[Ids], sampled: list[list[Completion]]
) -> list[_Group]:
    """The rewards of this rank's texts, then one pass of reference and value net over their tokens.

    The policy joins in only where the sampler did not say all: its logprobs and entropies are kept from sampling.
    """
    texts = [[trainer.tokens.decode(c.tokens) for c in group] for group in sampled]
    ended = [[c.ended for c in group] for group in sampled]
    with trainer.reward.use() as reward:
        scores = reward.scores(prompts, texts, ended=ended)
        del reward  # may be the last hold on it: its memory goes before the reference comes
    trees = [Tree(prompt, tuple(c.tokens for c in group)) for prompt, group in zip(ids, sampled, strict=True)]
    drawn = [c for group in sampled for c in group]
    whole = not trainer.config.rescore and all(c.entropies for c in drawn)  # nothing left for the policy to say
    seen = _score_tokens(trainer, trees, policy=not whole)
    if whole:
        seen = seen._replace(entropy=torch.tensor([entropy for c in drawn for entropy in c.entropies]))
    if not trainer.config.rescore:
        seen = seen._replace(logprobs=torch.tensor([logprob for c in drawn for logprob in c.logprobs]))
    sizes = [sum(map(len, tree.responses)) for tree in trees]
    parts = (_Seen(*part) for part in zip(*(values.cpu().split(sizes) for values in seen), strict=True))
    return [_Group(*group) for group in zip(trees, ended, scores, parts, strict=True)]


def _final_scores(trainer: Trainer, raw: Tensor, ended: Tensor) -> Tensor:
    """(episodes,): normalised if asked for; then a fixed score where the length limit cut an answer off (detail 8)."""
    if trainer.config.scores.normalise:
        trainer.moments = trainer.moments.update(raw)
        raw = trainer.moments.normalise(raw)
    fixed = trainer.config.scores.no_eos
    return raw if fixed is None else torch.where(ended, raw, fixed)


@torch.no_grad()
def _score_tokens(trainer: Trainer, trees: list[Tree], *, policy: bool) -> _Seen:
    """Log-probabilities under policy (if asked for) and reference, entropy and values of this rank's sampled tokens."""
    temperature, ranks = trainer.config.temperature, trainer.ranks
    trainer.policy_lower.clear()
    trainer.value_lower.clear()
    parts = []
    with trainer.reference.use() as reference:
        for indices, packed in _passes(trainer, trees):
            numbers = [i * ranks.size + ranks.rank for i in indices]  # among all ranks' trees
            lower = trainer.policy_lower.of(packed, numbers)
            other = reference.scores(packed, temperature=temperature, lower=lower, reference=True)
            values = trainer.value.values(packed, lower=trainer.value_lower.of(packed, numbers))
            own = trainer.policy.scores(packed, temperature=temperature, lower=lower) if policy else other
            parts.append(_Seen(own.logprobs, own.entropy, other.logprobs, values))
    return _Seen(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _passes(trainer: Trainer, trees: Sequence[Tree]) -> list[tuple[list[int], Packed]]:
    longest = max(tree.length for tree in trees)
    batches = MicroBatches(trees, tokens=trainer.config.tokens_per_pass, row_length=longest, pad=trainer.tokens.pad)
    return [(indices, packed.to(trainer.ranks.device)) for indices, packed in batches]


def learn(trainer: Trainer, rollout: Rollout) -> dict[str, float]:
    """The inner epochs of an update; returns the means of what was watched over all minibatches."""
    config, clock = trainer.config, _Clock()
    share = config.rates.share(config.updates)(trainer.update)
    set_rate(trainer.policy_optimiser, config.rates.policy * share)
    set_rate(trainer.value_optimiser, config.rates.value * share)
    size = config.minibatch // config.samples  # trees a minibatch
    seen: list[dict[str, float]] = []
    for epoch in range(config.inner_epochs):
        order = epoch_order(len(rollout.trees), seed=config.seed, epoch=trainer.update * config.inner_epochs + epoch)
        for start in range(0, len(order), size):
            seen.append(_step(trainer, rollout, order[start : start + size], number=len(seen)))
    trainer.beta = _next_beta(config, trainer.beta, rollout.metrics["objective/kl"])
    clock.lap("train")
    means = {name: sum(step[name] for step in seen) / len(seen) for name in seen[0]}
    first = {"policy/first_ratio_gap": seen[0]["ratio_gap"]}  # detail 15: 0 but for float error
    means.pop("ratio_gap")
    trained = config.inner_epochs * sum(tree.length for tree in rollout.trees)
    return means | first | {"policy/learning_rate": config.rates.policy * share} | clock.rates(train=trained)


def _step(trainer: Trainer, rollout: Rollout, minibatch: list[int], *, number: int) -> dict[str, float]:
    """One optimiser step of the policy (with the pretraining gradient, if any) and one of the value net."""
    ranks = trainer.ranks
    episodes = _rows(trainer, minibatch)
    total = int(rollout.mask[episodes].sum()) / ranks.size  # gradients are averaged: each divides by a mean share
    watched = _Sums()
    own = shard(minibatch, ranks)
    batches = [
        (packed, [own[i] for i in indices]) for indices, packed in _passes(trainer, [rollout.trees[i] for i in own])
    ]
    for packed, trees in batches:
        _policy_pass(trainer, rollout, packed, trees, total, watched)
    if trainer.documents is not None:
        _pretraining_passes(trainer, len(episodes), number, watched)
    norm = _apply(trainer, trainer.policy_parameters, trainer.policy_optimiser, "policy")
    trainer.ema.update()
    for packed, trees in batches:  # the policy's gradients are gone by now: the peak holds one model's, not two
        _value_pass(trainer, rollout, packed, trees, total, watched)
    value_norm = _apply(trainer, trainer.value_parameters, trainer.value_optimiser, "value")
    return watched.over(ranks) | {"policy/grad_norm": norm, "value/grad_norm": value_norm}


def _apply(trainer: Trainer, parameters: list[Any], optimiser: torch.optim.Optimizer, what: str) -> float:
    """Averages the gradients over ranks, clips, steps, and frees them; returns the norm before clipping."""
    average_gradients(parameters, trainer.ranks)
    norm = clip_gradients(parameters, trainer.config.max_norm, what=f"{what} gradient")
    if what == "value" or trainer.update >= trainer.config.value.warmup:
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return norm


def _rows(trainer: Trainer, trees: list[int]) -> Tensor:
    """The episodes of these trees."""
    samples = trainer.config.samples
    return torch.tensor([tree * samples + k for tree in trees for k in range(samples)])


def _policy_pass(
    trainer: Trainer, rollout: Rollout, packed: Packed, trees: list[int], total: float, watched: _Sums
) -> None:
    """Forward and backward of the clipped surrogate over one micro-batch (detail 5)."""
    lower = trainer.policy_lower.of(packed, trees)
    flat = trainer.policy.scores(packed, temperature=trainer.config.temperature, lower=lower).logprobs
    logprobs, mask = split_responses(flat, packed.lengths)
    rows, width = _rows(trainer, trees), logprobs.shape[1]
    old = rollout.logprobs[rows, :width]
    loss = policy_loss(
        logprobs=logprobs,
        old_logprobs=old,
        advantages=rollout.advantages[rows, :width],
        mask=mask,
        clip=trainer.config.clip,
        total=total,
    )
    loss.loss.backward()
    watched.add("policy/loss", loss.loss)
    watched.add("policy/clip_fraction", loss.clip_fraction)
    watched.add("policy/approx_kl", loss.approx_kl)
    watched.add("policy/ratio_mean", loss.ratio_mean)
    watched.largest("ratio_gap", ((logprobs - old).exp() - 1).abs()[mask].max())


def _value_pass(
    trainer: Trainer, rollout: Rollout, packed: Packed, trees: list[int], total: float, watched: _Sums
) -> None:
    """Forward and backward of the clipped value loss over one micro-batch (detail 5)."""
    values, mask = split_responses(
        trainer.value.values(packed, lower=trainer.value_lower.of(packed, trees)), packed.lengths
    )
    rows, width = _rows(trainer, trees), values.shape[1]
    loss = value_loss(
        values=values,
        old_values=rollout.values[rows, :width],
        returns=rollout.returns[rows, :width],
        mask=mask,
        clip=trainer.config.value.clip,
        total=total,
    )
    (trainer.config.value.coefficient * loss.loss).backward()
    watched.add("value/loss", loss.loss)
    watched.add("value/clip_fraction", loss.clip_fraction)


def _pretraining_passes(trainer: Trainer, episodes: int, number: int, watched: _Sums) -> None:
    """Adds gamma_ptx times the gradient of the pretraining loss to the policy's, before its one step (P)."""
    config, ranks = trainer.config, trainer.ranks
    assert trainer.documents is not None
    count = config.ptx.examples * episodes
    steps = trainer.update * config.inner_epochs * (config.batch // config.minibatch) + number
    examples = trainer.documents.take(steps * count, count)
    total = sum(tree.length - 1 for tree in examples) / ranks.size
    for _, packed in _passes(trainer, shard(examples, ranks)):
        lower = trainer.policy.backbone.lower(packed, trainer.policy.split) if trainer.policy.split else None
        loss = -trainer.policy.scores(packed, lower=lower).logprobs.sum() / total
        (config.ptx.weight * loss).backward()
        watched.add("ptx/loss", loss)


def _next_beta(config: Config, beta: float, kl: float) -> float:
    if config.kl.target is None:
        return beta
    return adapt_beta(beta=beta, kl=kl, target=config.kl.target, episodes=config.batch, horizon=config.kl.horizon)


class _Sums:
    """What the micro-batches of one optimiser step add up to."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.maxima: dict[str, float] = {}

    def add(self, name: str, value: Tensor) -> None:
        """A share of a sum over the whole minibatch."""
        self.sums[name] = self.sums.get(name, 0.0) + float(value.detach())

    def largest(self, name: str, value: Tensor) -> None:
        self.maxima[name] = max(self.maxima.get(name, 0.0), float(value.detach()))

    def over(self, ranks: World) -> dict[str, float]:
        """The means of the sums' shares and the greatest of the maxima, over all ranks."""
        parts = all_gather_objects((self.sums, self.maxima), ranks)
        means = {name: sum(sums[name] for sums, _ in parts) / len(parts) for name in self.sums}
        return means | {name: max(maxima[name] for _, maxima in parts) for name in self.maxima}


class _Clock:
    """Seconds between laps, and tokens a second from them."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.started = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self.started = now - self.started, now

    def rates(self, **tokens: int) -> dict[str, float]:
        times = {f"time/{name}": seconds for name, seconds in self.laps.items()}
        return times | {f"time/{name}_tokens_per_second": count / self.laps[name] for name, count in tokens.items()}
