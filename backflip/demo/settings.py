"""The demo's loop at each scale: what differs from the papers' settings so that it fits a laptop, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from backflip import pipeline
from backflip.demo import task
from backflip.recipes import ask, evaluate, ppo, reward, sample, sft

__all__ = ["HUMAN_QUESTIONS", "JUDGE", "Scale", "loop_at", "most_texts"]

Scale = Literal["demo", "tiny"]
HUMAN_QUESTIONS = 48  # rankings of four; fewer taught the reward model little, and more are an afternoon

JUDGE = "python:backflip.demo.task:judge"
_HERE = Path("-")  # folders, stores, models and labellers are set by the loop, and stand here as it wants them


def most_texts(scale: Scale) -> int | None:
    """At most so many demonstrations, and prompts of each split, are put into the store; None: all."""
    return 12 if scale == "tiny" else None


def loop_at(scale: Scale) -> pipeline.Config:
    """The loop's configuration; the caller sets model, store and folder."""
    return _tiny(_demo()) if scale == "tiny" else _demo()


def _demo() -> pipeline.Config:
    """For two old cores and twenty minutes: LoRA on the upper half, a reward model of 12 layers, 288 episodes.

    Chosen on validation prompts. Rankings are worth more than updates: a hasty reward model is gamed at once. With so
    few updates PPO takes six small steps an update where the paper takes one; lambda is 1 and the value net starts at
    0, for one that has seen 24 episodes is a poor bootstrap, and a reward model's word on half a text a worse one.
    """
    max_tokens = 64
    return pipeline.Config(
        model="-",
        store="-",
        project=task.SOURCE,
        prompts=task.SOURCE,
        labellers="simulated",
        sft=sft.Config(
            folder=_HERE,
            store="-",
            model="-",
            lora_rank=16,
            lora_layers=15,
            epochs=1,
            limit=112,
            batch=16,
            learning_rate=5e-4,
            dropout=0.0,
            keep=1,
            checkpoint_every=10,
        ),
        sample=sample.Config(folder=_HERE, store="-", model="-", samples=4, max_tokens=max_tokens, limit=144, rows=96),
        ask=ask.Config(folder=_HERE, store="-", labellers="people", judge=JUDGE),
        reward=reward.Config(
            folder=_HERE,
            store="-",
            model="-",
            layers=12,
            lora_rank=16,
            lora_layers=8,
            epochs=2,
            batch=4,
            learning_rate=1e-3,
            validation_share=0.15,
            checkpoint_every=10,
        ),
        ppo=ppo.Config(
            folder=_HERE,
            policy=_HERE,
            reward=(("-", 1.0),),
            store="-",
            judge=ppo.Judge(spec=((JUDGE, 1.0),), every=12),
            updates=12,
            batch=24,
            samples=4,
            minibatch=4,
            max_tokens=max_tokens,
            lam=1.0,
            ema=0.0,
            rates=ppo.Rates(policy=1.5e-3, value=1e-4, warmup=0),
            value=ppo.Value(zero_head=True, clip=10.0),
            scores=ppo.Scores(no_eos=-4.0),
            kl=ppo.KL(beta=0.05),
            adapter=ppo.Adapter(rank=16, layers=12, value_rank=16, value_layers=4),
            checkpoint_every=2,
        ),
        evaluate=evaluate.Config(
            folder=_HERE,
            store="-",
            policies=(
                evaluate.Policy("base", "base"),
                evaluate.Policy("base_prompted", "base", system="python:backflip.demo.task:best_prompted"),
                evaluate.Policy("sft", "sft"),
                evaluate.Policy("best_of_n", "sft", best_of=4),
                evaluate.Policy("ppo", "ppo"),
            ),
            judges=(("judge", JUDGE),),
            limit=50,
            samples=1,
            greedy="shown",
            max_tokens=max_tokens,
            rows=96,
            show=("the moon landing",),
            show_first=3,
        ),
    )


def _tiny(loop: pipeline.Config) -> pipeline.Config:
    """The same stages, as few and as short as they can be."""
    return replace(
        loop,
        sft=replace(loop.sft, lora_layers=1, epochs=1, batch=4, max_length=256, checkpoint_every=1),
        sample=replace(loop.sample, max_tokens=12, limit=None),
        reward=replace(loop.reward, layers=1, lora_layers=0, epochs=1, batch=4, checkpoint_every=1),
        ppo=replace(
            loop.ppo,
            updates=3,
            batch=8,
            samples=2,
            minibatch=4,
            max_tokens=12,
            judge=replace(loop.ppo.judge, every=1),
            adapter=ppo.Adapter(rank=4, layers=1, value_rank=4),
            checkpoint_every=1,
        ),
        evaluate=replace(loop.evaluate, max_tokens=12, samples=2, show_first=1),
    )
