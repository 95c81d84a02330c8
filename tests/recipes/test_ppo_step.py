"""One PPO update equals a slow, obvious one: full logits a row at a time, Python loops over tokens, torch's Adam."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import torch
from ppo_kit import LORA, Kit, count_e, make_kit, weights
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM

from backflip.lm.data import epoch_order
from backflip.lm.lora import adapters
from backflip.lm.packing import Tree
from backflip.lm.pretraining import Documents
from backflip.recipes.ppo import KL, Adapter, Config, Ptx, Rates, Scores, Trainer, Value
from backflip.recipes.ppo.algorithm import learn, rollout
from backflip.records import Prompt


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return make_kit(tmp_path_factory.mktemp("ppo_step"))


class Lora:
    """LoRA by forward hooks on a Transformers model, in double precision; `on` is a switch."""

    def __init__(self, layers: nn.ModuleList, ours: nn.Module, *, rank: int, first: int, alpha: float) -> None:
        self.on, self.parameters, self.scale = True, [], alpha / rank
        linear = [m for layer in layers[first:] for m in layer.modules() if isinstance(m, nn.Linear)]
        for theirs, adapter in zip(linear, adapters(ours), strict=True):
            pair = [nn.Parameter(p.detach().double()) for p in (adapter.lora_a, adapter.lora_b)]
            self.parameters += pair
            theirs.register_forward_hook(lambda _, given, out, pair=pair: out + self.delta(given[0], *pair))

    def delta(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor | float:
        return self.scale * (x @ a.T) @ b.T if self.on else 0.0


@dataclass
class Slow:
    """The models and what is trained of them, built from the files and the trainer's fresh draws."""

    policy: nn.Module
    trunk: nn.Module
    head: nn.Parameter
    lora: list[Lora]
    trained: list[nn.Parameter]
    value_trained: list[nn.Parameter]
    temperature: float
    shadow: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shadow = [p.detach().clone() for p in self.trained]

    @classmethod
    def of(cls, config: Config, trainer: Trainer) -> Slow:
        policy = AutoModelForCausalLM.from_pretrained(config.policy, dtype=torch.float64).eval()
        trunk = AutoModel.from_pretrained(config.policy, dtype=torch.float64).eval()
        head = nn.Parameter(trainer.value.head.weight.detach().double()[0])
        a = config.adapter
        if not a.rank:
            return cls(policy, trunk, head, [], [*policy.parameters()], [*trunk.parameters(), head], config.temperature)
        first = [2 - (count or 2) for count in (a.layers, a.value_layers)]  # the tiny model has two layers
        ours, values = trainer.policy, trainer.value
        lora = Lora(policy.model.layers, ours, rank=a.rank, first=first[0], alpha=a.alpha)
        other = Lora(trunk.layers, values, rank=a.value_rank, first=first[1], alpha=a.alpha)
        return cls(policy, trunk, head, [lora], lora.parameters, [*other.parameters, head], config.temperature)

    def logits(self, tree: Tree, k: int) -> Tensor:
        row = torch.tensor([[*tree.prompt, *tree.responses[k]]])
        return self.policy(input_ids=row).logits[0, len(tree.prompt) - 1 : -1] / self.temperature

    def logprobs(self, tree: Tree, k: int) -> Tensor:
        return self.logits(tree, k).log_softmax(-1)[range(len(tree.responses[k])), list(tree.responses[k])]

    def entropy(self, tree: Tree, k: int) -> list[float]:
        return [-sum(p * math.log(p) for p in row.tolist()) for row in self.logits(tree, k).softmax(-1)]

    def values(self, tree: Tree, k: int) -> Tensor:
        row = torch.tensor([[*tree.prompt, *tree.responses[k]]])
        return self.trunk(input_ids=row).last_hidden_state[0, len(tree.prompt) - 1 : -1] @ self.head

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Within, the policy is the reference. In a first update of all weights it is that anyway."""
        for lora in self.lora:
            lora.on = False
        yield
        for lora in self.lora:
            lora.on = True


def moments(numbers: list[float]) -> tuple[float, float]:
    mean = sum(numbers) / len(numbers)
    return mean, sum((x - mean) ** 2 for x in numbers) / len(numbers)


@dataclass
class Episode:
    """One answer and all that is known of it, in lists over its tokens."""

    tree: Tree
    k: int
    logprobs: list[float]
    reference: list[float]
    values: list[float]
    entropy: list[float]
    raw: float
    ended: bool
    score: float = 0.0
    advantages: list[float] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)

    @property
    def kl(self) -> list[float]:
        return [p - q for p, q in zip(self.logprobs, self.reference, strict=True)]


@torch.no_grad()
def slow_episode(trainer: Trainer, slow: Slow, prompt: Prompt, tree: Tree, k: int) -> Episode:
    with slow.reference():
        reference = slow.logprobs(tree, k).tolist()
    ended = tree.responses[k][-1] == trainer.tokens.eos
    text = trainer.tokens.tokenizer.decode(tree.responses[k], skip_special_tokens=True).strip()
    seen = slow.logprobs(tree, k).tolist(), reference, slow.values(tree, k).tolist(), slow.entropy(tree, k)
    return Episode(tree, k, *seen, count_e(prompt, text, ended), ended)


def slow_scores(config: Config, episodes: list[Episode]) -> None:
    mean, variance = moments([e.raw for e in episodes]) if config.scores.normalise else (0.0, 1.0 - 1e-8)
    for e in episodes:
        e.score = (e.raw - mean) / math.sqrt(variance + 1e-8) if e.ended else config.scores.no_eos


def slow_advantages(config: Config, episodes: list[Episode]) -> None:
    rewards = [[-config.kl.beta * x for x in e.kl] for e in episodes]
    for e, row in zip(episodes, rewards, strict=True):
        row[-1] += e.score
    if config.scores.whiten:
        mean, variance = moments([r for row in rewards for r in row])
        rewards = [[(r - mean) / math.sqrt(variance + 1e-8) + mean for r in row] for row in rewards]
    for e, row in zip(episodes, rewards, strict=True):
        e.advantages, last = [0.0] * len(row), 0.0
        for t in reversed(range(len(row))):
            following = e.values[t + 1] if t + 1 < len(row) else 0.0
            last = e.advantages[t] = row[t] + following - e.values[t] + config.lam * last
        e.returns = [a + v for a, v in zip(e.advantages, e.values, strict=True)]
    mean, variance = moments([a for e in episodes for a in e.advantages])
    for e in episodes:
        e.advantages = [(a - mean) / math.sqrt(variance + 1e-8) for a in e.advantages]


def slow_losses(config: Config, slow: Slow, chosen: list[Episode], sums: Counter[str]) -> tuple[Tensor, Tensor]:
    """The policy's and the value net's loss over a minibatch, token by token."""
    count = sum(len(e.logprobs) for e in chosen)
    policy_loss, value_loss = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for e in chosen:
        logprobs, values = slow.logprobs(e.tree, e.k), slow.values(e.tree, e.k)
        for t, (a, r, v) in enumerate(zip(e.advantages, e.returns, e.values, strict=True)):
            log_ratio = logprobs[t] - e.logprobs[t]
            ratio, clipped = log_ratio.exp(), log_ratio.exp().clamp(1 - config.clip, 1 + config.clip)
            policy_loss = policy_loss + torch.maximum(-a * ratio, -a * clipped) / count
            near = values[t].clamp(v - config.value.clip, v + config.value.clip)
            value_loss = value_loss + 0.5 * torch.maximum((values[t] - r) ** 2, (near - r) ** 2) / count
            sums["policy/approx_kl"] += 0.5 * float(log_ratio.detach()) ** 2 / count
            sums["policy/ratio_mean"] += float(ratio.detach()) / count
            sums["policy/clip_fraction"] += float(-a * clipped > -a * ratio) / count
            sums["value/clip_fraction"] += float((near - r) ** 2 > (values[t] - r) ** 2) / count
    sums["policy/loss"] += float(policy_loss.detach())
    sums["value/loss"] += float(value_loss.detach())
    return policy_loss, value_loss


def slow_clip(parameters: list[nn.Parameter], limit: float) -> float:
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    for gradient in gradients:
        gradient.mul_(min(1.0, limit / (norm + 1e-6)))
    return norm


def slow_learn(config: Config, trainer: Trainer, slow: Slow, episodes: list[Episode]) -> dict[str, float]:
    trained = {"policy": (slow.trained, config.rates.policy), "value": (slow.value_trained, config.rates.value)}
    adam = {
        name: torch.optim.Adam(parameters, lr=rate * 0.1, betas=(0.9, 0.95), eps=1e-5)  # warm-up starts at a tenth (P)
        for name, (parameters, rate) in trained.items()
    }
    sums: Counter[str] = Counter()
    size, trees, steps = config.minibatch // config.samples, len(episodes) // config.samples, 0
    for epoch in range(config.inner_epochs):
        order = epoch_order(trees, seed=config.seed, epoch=epoch)
        for start in range(0, trees, size):
            places = [t * config.samples + k for t in order[start : start + size] for k in range(config.samples)]
            policy_loss, value_loss = slow_losses(config, slow, [episodes[i] for i in places], sums)
            if config.ptx.text:
                loss = slow_ptx(config, trainer, slow, len(places) * config.ptx.examples, steps)
                policy_loss = policy_loss + config.ptx.weight * loss
                sums["ptx/loss"] += float(loss.detach())
            for optimiser in adam.values():
                optimiser.zero_grad()
            policy_loss.backward()
            (config.value.coefficient * value_loss).backward()
            for name, (parameters, _) in trained.items():
                sums[f"{name}/grad_norm"] += slow_clip(parameters, config.max_norm)
                adam[name].step()
            for mean, p in zip(slow.shadow, slow.trained, strict=True):
                mean.copy_(config.ema * mean + (1 - config.ema) * p.detach())
            steps += 1
    return {name: total / steps for name, total in sums.items()}


def slow_update(
    config: Config, trainer: Trainer, slow: Slow, prompts: list[Prompt], trees: list[Tree]
) -> dict[str, float]:
    """Everything but the sampled tokens is worked out anew, as P, A and the twenty details say it."""
    asked = {trainer.tokens.prompt(p): p for p in prompts}
    episodes = [slow_episode(trainer, slow, asked[t.prompt], t, k) for t in trees for k in range(config.samples)]
    slow_scores(config, episodes)
    slow_advantages(config, episodes)
    n, tokens = len(episodes), sum(len(e.logprobs) for e in episodes)
    kl, score = sum(sum(e.kl) for e in episodes) / n, sum(e.score for e in episodes) / n
    returns = [r for e in episodes for r in e.returns]
    errors = [r - v for e in episodes for r, v in zip(e.returns, e.values, strict=True)]
    return slow_learn(config, trainer, slow, episodes) | {
        "objective/kl": kl,
        "objective/entropy": sum(sum(e.entropy) for e in episodes) / tokens,
        "objective/score": score,
        "objective/raw_score": sum(e.raw for e in episodes) / n,
        "objective/non_score_reward": -config.kl.beta * kl,
        "objective/rlhf_reward": score - config.kl.beta * kl,
        "value/explained_variance": 1 - moments(errors)[1] / moments(returns)[1],
        "tokens/mean_length": tokens / n,
        "tokens/eos_share": sum(e.ended for e in episodes) / n,
    }


def slow_ptx(config: Config, trainer: Trainer, slow: Slow, count: int, step: int) -> Tensor:
    documents = Documents(trainer.tokens, config.ptx.text, length=config.ptx.length, seed=config.seed)
    losses = []
    for tree in documents.take(step * count, count):
        row = torch.tensor([tree.responses[0]])
        logprobs = slow.policy(input_ids=row).logits[0, :-1].log_softmax(-1)
        losses += [-logprobs[i, token] for i, token in enumerate(tree.responses[0][1:])]
    return torch.stack(losses).mean()


PTX = {"examples": 1, "weight": 2.0, "length": 12}
CASES = [
    # adapter, samples, tokens a pass, pretraining text, whiten rewards and normalise scores
    (Adapter(), 1, 4096, False, False),
    (Adapter(), 4, 40, True, True),
    (Adapter(), 4, 4096, True, False),
    (LORA, 1, 40, False, True),
    (LORA, 4, 4096, True, False),
    (Adapter(rank=4, value_rank=2, alpha=8.0), 4, 40, False, True),  # on all layers: nothing below is frozen
]


@pytest.mark.parametrize(("adapter", "samples", "tokens", "ptx", "normalise"), CASES)
def test_an_update_equals_the_slow_one(
    kit: Kit, adapter: Adapter, samples: int, tokens: int, ptx: bool, normalise: bool
) -> None:
    config = kit.config(
        adapter=adapter,
        samples=samples,
        batch=8,
        minibatch=4,
        inner_epochs=2,
        tokens_per_pass=tokens,
        temperature=0.8,
        clip=0.01,  # narrow, so that clipping is at work
        value=Value(clip=0.01),
        rates=Rates(policy=2e-2, value=3e-2),  # a tenth in the first update
        ema=0.9,
        kl=KL(beta=0.3),
        scores=Scores(normalise=normalise, whiten=normalise),
        ptx=Ptx(text=(kit.text,), **PTX) if ptx else Ptx(),
    )
    trainer = kit.trainer(config)
    if adapter.rank:  # adapters that do something, so that policy and reference differ
        generator = torch.Generator().manual_seed(1)
        for part in (*adapters(trainer.policy), *adapters(trainer.value)):
            part.lora_b.data.copy_(0.1 * torch.randn(part.lora_b.shape, generator=generator))
        for mean, parameter in zip(trainer.ema.shadow, trainer.policy_parameters, strict=True):
            mean.copy_(parameter)
    slow = Slow.of(config, trainer)
    before = weights(trainer)

    episodes = rollout(trainer, kit.prompts())
    metrics = episodes.metrics | learn(trainer, episodes)
    expected = slow_update(config, trainer, slow, kit.prompts(), episodes.trees)

    assert {name: metrics[name] for name in expected} == pytest.approx(expected, rel=2e-4, abs=2e-5)
    assert metrics["policy/clip_fraction"] > 0.05
    assert metrics["value/clip_fraction"] > 0.05
    assert 0 < metrics["tokens/eos_share"] < 1
    # Adam moves a weight by about the rate, 2e-3, a step: agreement to a hundredth of that is agreement of gradients.
    moved = max(float((weights(trainer)[n] - v).abs().max()) for n, v in before.items())
    assert moved > 1e-3
    for name, ours, theirs in pairs(trainer, slow):
        torch.testing.assert_close(ours.double(), theirs.double(), rtol=0, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


def pairs(trainer: Trainer, slow: Slow) -> list[tuple[str, Tensor, Tensor]]:
    """Ours and theirs of everything that was trained, and of the moving average."""
    shadow = {id(p): mean for p, mean in zip(trainer.policy_parameters, trainer.ema.shadow, strict=True)}
    slow_shadow = {id(p): mean for p, mean in zip(slow.trained, slow.shadow, strict=True)}
    if not slow.lora:
        own = dict(trainer.policy.backbone.trunk.named_parameters())
        policy = [(n, own[n.removeprefix("model.")], p) for n, p in slow.policy.named_parameters()]
        own = dict(trainer.value.backbone.trunk.named_parameters())
        value = [(f"value {n}", own[n], p) for n, p in slow.trunk.named_parameters()]
    else:
        loras = [
            [p for part in adapters(m) for p in (part.lora_a, part.lora_b)] for m in (trainer.policy, trainer.value)
        ]
        policy = [(f"LoRA {i}", *both) for i, both in enumerate(zip(loras[0], slow.trained, strict=True))]
        value = [
            (f"value LoRA {i}", *both) for i, both in enumerate(zip(loras[1], slow.value_trained[:-1], strict=True))
        ]
    means = [(f"mean of {n}", shadow[id(ours)], slow_shadow[id(theirs)]) for n, ours, theirs in policy]
    assert len(means) == len(shadow)
    head = ("value head", trainer.value.head.weight[0], slow.head)
    return [(n, a.detach(), b.detach()) for n, a, b in [*policy, *value, *means, head]]
