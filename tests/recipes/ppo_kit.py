"""What the PPO tests share: a tiny model, a store with prompts, and configurations that cost a second."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from backflip.config import override
from backflip.feedback.store import Store
from backflip.lm.backbone import merged_weights, seed_everything
from backflip.lm.hub import tiny_model
from backflip.lm.rewards import PythonReward, Rewards
from backflip.recipes.ppo import Adapter, Config, Rates, Trainer
from backflip.recipes.ppo.frozen import Frozen
from backflip.records import Message, Prompt
from backflip.runs.ranks import World

__all__ = ["ALONE", "LORA", "Kit", "count_e", "make_kit", "steady", "weights"]

ALONE = World(0, 1, torch.device("cpu"))
LORA = Adapter(rank=4, layers=1, value_rank=4, value_layers=1, alpha=8.0)


def count_e(prompt: Prompt, text: str, ended: bool) -> float:
    """A reward with some spread."""
    return 0.2 * text.count("e") + 0.01 * len(text) - 0.1 * len(prompt.messages) + 0.5 * ended


@dataclass(frozen=True)
class Kit:
    folder: Path
    model: Path
    store: str
    text: Path

    def config(self, **changes: Any) -> Config:
        base = Config(
            policy=self.model,
            reward=(("python:ppo_kit:count_e", 1.0),),
            store=self.store,
            folder=self.folder / "run",
            updates=3,
            batch=8,
            samples=2,
            minibatch=4,
            max_tokens=6,
            rates=Rates(policy=1e-3, value=2e-3),
            checkpoint_every=2,
            rows=4,
        )
        return override(base, **changes)

    def prompts(self) -> list[Prompt]:
        with Store.open(self.store) as store:
            return list(store.prompts(name="default", split="train"))

    def trainer(self, config: Config, reward: Callable[[Prompt, str, bool], float] | Rewards = count_e) -> Trainer:
        scorer = PythonReward(reward) if callable(reward) else reward
        seed_everything(config.seed)
        return Trainer(config, ALONE, reward=Frozen(lambda: scorer, keep=True))


def make_kit(folder: Path) -> Kit:
    """Five training prompts, one of them a dialogue of several turns, and three for validation."""
    model = tiny_model(folder / "tiny").folder
    _end_sooner(model, 0.2)
    turns = (Message("user", "Is rain wet?"), Message("assistant", "It is."), Message("user", "Why?"))
    asked = [Prompt.ask(f"Tell me about the {word}.") for word in ("moon", "sun", "sky and the sea")]
    with Store.open(str(folder / "feedback.db")) as store:
        store.add_prompts([*asked, Prompt(messages=turns), Prompt(text="The moon is")], name="default")
        store.add_prompts([Prompt.ask(f"What is {n}?") for n in range(3)], name="default", split="validation")
    text = folder / "prose.txt"
    text.write_text("The sun is a star. " * 40, encoding="utf-8")
    return Kit(folder, model, str(folder / "feedback.db"), text)


def _end_sooner(folder: Path, share: float) -> None:
    """Points the EOS row of the (tied) embedding at the mean state, so that about `share` of tokens end an answer."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([tokenizer("The moon is a big ball of rock", add_special_tokens=False).input_ids])
    with torch.no_grad():
        mean = model.model(input_ids=ids).last_hidden_state[0].mean(0)
        others = math.log(len(tokenizer)) + math.log(share / (1 - share))
        model.get_input_embeddings().weight[tokenizer.eos_token_id] = others * mean / mean.square().sum()
    model.save_pretrained(folder)


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    """The policy's weights as they would be saved."""
    return {name: value.detach().clone() for name, value in merged_weights(trainer.policy.backbone).items()}


def steady(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics less the timings."""
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}
