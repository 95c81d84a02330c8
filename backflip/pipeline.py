"""The InstructGPT loop: demonstrations -> SFT, then round after round of sample -> ask -> reward -> PPO; evaluate.

    backflip run --model SmolLM2-135M-Instruct --store runs/loop/feedback.db --rounds 2 --labellers people

Each stage is its recipe, in a run folder of its own; one that is done is skipped, and one that was interrupted goes on.
Round 2 samples from round 1's policy, asks about its answers, trains the reward model anew on all answers so far, and
PPO goes on from that policy. People and training meet in the store alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from backflip.config import NOT_FINGERPRINTED, require
from backflip.recipes import ask, evaluate, ppo, reward, sample, sft

__all__ = ["Config", "Result", "Round", "run", "run_round"]

_SET_BY_THE_LOOP = "-"
_NOWHERE = Path(_SET_BY_THE_LOOP)


def _contestants() -> tuple[evaluate.Policy, ...]:
    return tuple(evaluate.Policy(role, role) for role in ("base", "sft", "ppo"))


@dataclass(frozen=True)
class Config:
    """The loop and its stages. Folders, stores and models of the stages are set by the loop.

    In `evaluate.policies` a model is a role: base, sft, ppo (the last round's) or ppo-1, ppo-2, ...
    """

    model: str
    """The pretrained model to start from, a Transformers folder or a hub id."""
    store: str = field(metadata=NOT_FINGERPRINTED)
    """The feedback store, a path or URL: prompts, demonstrations, questions and answers."""
    folder: Path = field(default=Path("runs/loop"), metadata=NOT_FINGERPRINTED)
    """Every stage has its run folder below this one."""
    project: str = "default"
    """The store's project."""
    prompts: str = "default"
    """The prompt set; its splits are train, validation and test."""
    rounds: int = 1
    """How often: sample, ask, reward, PPO."""
    labellers: Literal["simulated", "keyboard", "people"] = "people"
    """Who answers."""
    seed: int = 0
    """Of every stage; rounds differ by theirs."""
    sft: sft.Config = field(
        default_factory=lambda: sft.Config(folder=_NOWHERE, store=_SET_BY_THE_LOOP, model=_SET_BY_THE_LOOP)
    )
    sample: sample.Config = field(
        default_factory=lambda: sample.Config(folder=_NOWHERE, store=_SET_BY_THE_LOOP, model=_SET_BY_THE_LOOP)
    )
    ask: ask.Config = field(
        default_factory=lambda: ask.Config(folder=_NOWHERE, store=_SET_BY_THE_LOOP, labellers="people")
    )
    reward: reward.Config = field(
        default_factory=lambda: reward.Config(folder=_NOWHERE, store=_SET_BY_THE_LOOP, model=_SET_BY_THE_LOOP)
    )
    ppo: ppo.Config = field(
        default_factory=lambda: ppo.Config(policy=_NOWHERE, reward=((_SET_BY_THE_LOOP, 1.0),), store=_SET_BY_THE_LOOP)
    )
    evaluate: evaluate.Config = field(
        default_factory=lambda: evaluate.Config(folder=_NOWHERE, store=_SET_BY_THE_LOOP, policies=_contestants())
    )

    def __post_init__(self) -> None:
        require(self.rounds >= 1, "rounds", seen=self.rounds, wanted="1 or more")


@dataclass(frozen=True)
class Round:
    """What one round left."""

    sample: sample.Result
    ask: ask.Result
    reward: reward.Result
    ppo: ppo.Result


@dataclass(frozen=True)
class Result:
    """Every stage's result; `evaluation` compares the contestants."""

    sft: sft.Result
    rounds: tuple[Round, ...]
    evaluation: evaluate.Result

    def __rich__(self) -> Any:
        return self.evaluation.__rich__()


def run(config: Config) -> Result:
    """The whole loop. The same command goes on after an interruption, with every answer kept.

    Raises LabellingPaused while people have not answered enough, and what the stages raise.
    """
    fine_tuned = sft.run(
        replace(
            config.sft,
            folder=config.folder / "sft",
            model=config.model,
            prompts=config.prompts,
            seed=config.seed,
            **_place(config),
        )
    )
    rounds: list[Round] = []
    policy = fine_tuned.model
    for number in range(1, config.rounds + 1):
        rounds.append(run_round(config, number, start=fine_tuned.model, policy=policy))
        policy = rounds[-1].ppo.model
    return Result(fine_tuned, tuple(rounds), _evaluate(config, fine_tuned, rounds))


def run_round(config: Config, number: int, *, start: str, policy: str) -> Round:
    """Sample from `policy`, ask, train a reward model from `start` (the SFT model) on all answers, and PPO."""
    folder, seed = config.folder / f"round-{number}", config.seed + 1000 * (number - 1)
    place = _place(config)
    samples = sample.run(
        replace(config.sample, folder=folder / "sample", model=policy, prompts=config.prompts, seed=seed, **place)
    )
    asked = ask.run(replace(config.ask, folder=folder / "ask", labellers=config.labellers, seed=seed, **place))
    learned = reward.run(
        replace(
            config.reward,
            folder=folder / "reward",
            model=start,
            up_to=asked.snapshot["up_to"],
            seed=seed,
            **place,
        )
    )
    trained = ppo.run(
        replace(
            config.ppo,
            folder=folder / "ppo",
            policy=Path(policy),
            reward=((learned.model, 1.0),),
            value=Path(learned.model),
            store=config.store,
            prompts=config.prompts,
            seed=seed,
        )
    )
    return Round(samples, asked, learned, trained)


def _place(config: Config) -> Mapping[str, Any]:
    return {"store": config.store, "project": config.project}


def _evaluate(config: Config, fine_tuned: sft.Result, rounds: list[Round]) -> evaluate.Result:
    """The contestants on the test prompts, blind."""
    roles = {"base": config.model, "sft": fine_tuned.model, "ppo": rounds[-1].ppo.model}
    roles |= {f"ppo-{n}": r.ppo.model for n, r in enumerate(rounds, start=1)}
    for policy in config.evaluate.policies:
        require(policy.model in roles, "evaluate.policies", seen=policy.model, wanted=f"a role: {', '.join(roles)}")
    return evaluate.run(
        replace(
            config.evaluate,
            folder=config.folder / "evaluate",
            policies=tuple(replace(policy, model=roles[policy.model]) for policy in config.evaluate.policies),
            prompts=config.prompts,
            against=("base", "sft"),
            kl_to="sft",
            reward=rounds[-1].reward.model,
            seed=config.seed,
            **_place(config),
        )
    )
