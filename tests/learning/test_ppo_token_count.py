"""PPO finds optima that are known: a token that is counted, a leash that holds, and the tilted distribution itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from backflip.feedback.store import Store
from backflip.lm.heads import Causal
from backflip.lm.hub import tiny_model
from backflip.lm.packing import Tree, pack
from backflip.lm.rewards import PythonReward
from backflip.lm.tokens import Tokens
from backflip.recipes import ppo
from backflip.recipes.ppo import KL, Adapter, Config, Rates, Scores, Trainer
from backflip.records import Prompt
from backflip.runs.metrics import read_metrics

PROMPT = Prompt.ask("Why is the sky blue?")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("token_count")
    model = AutoModelForCausalLM.from_pretrained(tiny_model(folder / "tiny").folder)
    model.get_input_embeddings().weight.data.mul_(3)  # else no state could make a token likely under a frozen head
    model.save_pretrained(folder / "tiny")
    with Store.open(str(folder / "feedback.db")) as store:
        store.add_prompts([PROMPT], name="default")
    return folder


def config(base: Path, folder: Path, **changes: Any) -> Config:
    settings: dict[str, Any] = {
        "policy": base / "tiny",
        "reward": (("python:unused:unused", 1.0),),
        "store": str(base / "feedback.db"),
        "folder": folder,
        "scores": Scores(no_eos=None),
        "ema": 0.0,
        "checkpoint_every": 1000,
        "rates": Rates(policy=5e-3, value=5e-3),
    }
    return Config(**settings | changes)


def trained(config: Config, reward: Callable[[Prompt, str, bool], float]) -> tuple[list[dict[str, float]], Trainer]:
    last: list[Trainer] = []
    ppo.run(config, reward=PythonReward(reward), after_update=last.append)
    return read_metrics(config.folder), last[-1]


def share_of_vowels(prompt: Prompt, text: str, ended: bool) -> float:
    return sum(c in "aeiou" for c in text) / max(len(text), 1)


@pytest.mark.parametrize(
    ("adapter", "rate"), [(Adapter(), 1e-2), (Adapter(rank=8, value_rank=8, alpha=64.0), 3e-2)], ids=["full", "lora"]
)
def test_a_reward_that_counts_is_learnt(base: Path, tmp_path: Path, adapter: Adapter, rate: float) -> None:
    # The optimum is 1, with nothing but vowels; the untrained policy is below 0.2.
    settings = config(
        base,
        tmp_path / "run",
        updates=30,
        batch=64,
        samples=64,
        minibatch=64,
        inner_epochs=2,
        max_tokens=4,
        rows=64,
        rates=Rates(policy=rate, value=5e-3),
        kl=KL(beta=0.0),
        adapter=adapter,
    )
    lines, _ = trained(settings, share_of_vowels)
    scores = [line["objective/score"] for line in lines]
    assert scores[0] < 0.2
    assert sum(scores[-3:]) / 3 > 0.9
    assert all(line["policy/first_ratio_gap"] < 1e-4 for line in lines)


def test_a_short_leash_holds(base: Path, tmp_path: Path) -> None:
    settings = config(
        base,
        tmp_path / "run",
        updates=25,
        batch=64,
        samples=64,
        minibatch=64,
        max_tokens=4,
        rows=64,
        rates=Rates(policy=1e-3, value=5e-3),
        kl=KL(beta=10.0),
    )
    lines, _ = trained(settings, share_of_vowels)
    assert max(abs(line["objective/kl"]) for line in lines) < 0.1
    assert abs(lines[-1]["objective/score"] - lines[0]["objective/score"]) < 0.15


def next_token(model: Causal, tokens: Tokens) -> torch.Tensor:
    """(vocabulary,): the distribution of the answer's first token."""
    packed = pack([Tree(tokens.prompt(PROMPT), ((0,),))])
    with torch.no_grad():
        states = model.backbone(packed).flatten(0, 1)[packed.sources]
        return (states @ model.head.weight.T).double().softmax(-1)[0]


def test_one_token_answers_reach_the_tilted_distribution(base: Path, tmp_path: Path) -> None:
    """For one-token answers the optimum is known: pi*(a) is proportional to pi_ref(a) exp(r(a) / beta)."""
    beta = 0.5
    settings = config(
        base,
        tmp_path / "run",
        updates=50,
        batch=256,
        samples=256,
        minibatch=256,
        inner_epochs=2,
        max_tokens=1,
        rows=256,
        rates=Rates(policy=3e-3, value=5e-3, schedule="linear"),
        kl=KL(beta=beta),
    )
    _, trainer = trained(settings, first_letter)
    reference = next_token(Causal.load(base / "tiny"), trainer.tokens)
    texts = [trainer.tokens.decode([token]) for token in range(len(reference))]
    reward = torch.tensor([first_letter(PROMPT, text, False) for text in texts], dtype=torch.float64)
    best = (reference.log() + reward / beta).softmax(-1)
    learnt = next_token(trainer.policy, trainer.tokens)

    def share(distribution: torch.Tensor, worth: float) -> float:
        return float(distribution[reward == worth].sum())

    for worth in (1.0, 0.5, 0.0):
        assert share(learnt, worth) == pytest.approx(share(best, worth), abs=0.05)
    assert abs(share(reference, 1.0) - share(best, 1.0)) > 0.2  # it had a way to go
    # What is maximised, E[r] - beta KL, is within a twentieth of its optimum, beta log E_ref[exp(r / beta)].
    gained = float((learnt * (reward - beta * (learnt.log() - reference.log()))).sum())
    optimum = beta * float((reference * (reward / beta).exp()).sum().log())
    start = float((reference * reward).sum())
    assert start < gained <= optimum + 1e-9
    assert (optimum - gained) / (optimum - start) < 0.2


def first_letter(prompt: Prompt, text: str, ended: bool) -> float:
    """1 for a token that begins with a letter of a to m, a half for one of n to z, else 0."""
    letter = text[:1].lower()
    return 1.0 if "a" <= letter <= "m" else 0.5 if "n" <= letter <= "z" else 0.0
