"""The InstructGPT loop: demonstrations -> SFT, then round after round of sample -> ask -> reward -> PPO; evaluate.

    backflip run --model SmolLM2-135M-Instruct --store runs/loop/feedback.db --rounds 2 --labellers people

Each stage is its recipe, in a run folder of its own; one that is done is skipped, and one that was interrupted goes on.
Round 2 samples from round 1's policy, asks about its answers, trains the reward model anew on all answers so far, and
PPO goes on from that policy. People and training meet in the store alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from rich.console import Console

from backflip.config import NOT_FINGERPRINTED, require
from backflip.feedback.selection import members_wanted
from backflip.recipes import ask, evaluate, ppo, reward, sample, sft
from backflip.runs import read_run

__all__ = ["Announce", "Config", "Result", "Round", "Stage", "run", "run_round", "stages"]

StageName = Literal["sft", "sample", "ask", "reward", "ppo", "evaluate"]
_OF_A_ROUND: tuple[StageName, ...] = ("sample", "ask", "reward", "ppo")

_SET_BY_THE_LOOP = "-"
_NOWHERE = Path(_SET_BY_THE_LOOP)
_RIVALS = ("base", "sft")  # whom every contestant is compared with

# What the loop sets in its stages: given to it otherwise, it is refused and not passed over.
_COMMON = ("folder", "store", "seed")
_SET: Mapping[StageName, tuple[str, ...]] = MappingProxyType(
    {
        "sft": (*_COMMON, "project", "model", "prompts"),
        "sample": (*_COMMON, "project", "model", "prompts"),
        "ask": (*_COMMON, "project", "labellers"),
        "reward": (*_COMMON, "project", "model", "up_to"),
        "ppo": (*_COMMON, "policy", "prompts", "value.start"),
        "evaluate": (*_COMMON, "project", "prompts", "against", "kl_to", "reward"),
    }
)


def _contestants() -> tuple[evaluate.Policy, ...]:
    return tuple(evaluate.Policy(role, role) for role in ("base", "sft", "ppo"))


@dataclass(frozen=True)
class Config:
    """The loop and its stages. The loop sets the stages' folders, stores, models and seeds, and refuses others.

    In `evaluate.policies` a model is a role: base, sft, ppo (the last round's) or ppo-1, ppo-2, ... In `ppo.reward`
    "-" is this round's reward model: `--ppo.reward - 1.0 python:mine:brief 0.2` adds another reward to it.
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
    given: bool = False
    """The first round samples nothing: it asks what the store holds already."""
    labellers: Literal["simulated", "keyboard", "people"] = "people"
    """Who answers."""
    seed: int = 0
    """Of every stage; rounds differ by theirs, but for the reward model's."""
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
        default_factory=lambda: ppo.Config(
            folder=_NOWHERE, policy=_NOWHERE, reward=((_SET_BY_THE_LOOP, 1.0),), store=_SET_BY_THE_LOOP
        )
    )
    evaluate: evaluate.Config = field(
        default_factory=lambda: evaluate.Config(folder=_NOWHERE, store=_SET_BY_THE_LOOP, policies=_contestants())
    )

    def __post_init__(self) -> None:
        require(self.rounds >= 1, "rounds", seen=self.rounds, wanted="1 or more")
        require(0 <= self.seed < 2**31, "seed", seen=self.seed, wanted="0 to below 2^31")
        for stage, names in _SET.items():
            given, placeholder = getattr(self, stage), _placeholder(stage)
            for name in names:
                seen, free = attrgetter(name)(given), attrgetter(name)(placeholder)
                require(seen == free, f"{stage}.{name}", seen=seen, wanted=f"{free!r}, for the loop sets it")
        replace(self.ask, labellers=self.labellers)  # who asks for a judge where there is none
        rewards = [spec for spec, _ in self.ppo.reward]
        wanted = f"{_SET_BY_THE_LOOP!r} once: this round's reward model"
        require(rewards.count(_SET_BY_THE_LOOP) == 1, "ppo.reward", seen=rewards, wanted=wanted)
        self._check_contestants()

    def _check_contestants(self) -> None:
        roles = ("base", "sft", "ppo", *(f"ppo-{number}" for number in range(1, self.rounds + 1)))
        for policy in self.evaluate.policies:
            require(policy.model in roles, "evaluate.policies", seen=policy.model, wanted=f"a role: {', '.join(roles)}")
        names = [policy.name for policy in self.evaluate.policies]
        compared = set(_RIVALS) <= set(names)
        require(compared, "evaluate.policies", seen=names, wanted=f"{' and '.join(_RIVALS)} among the names")


@dataclass(frozen=True)
class Round:
    """What one round left."""

    sample: sample.Result | None  # none where its questions were given
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


class Stage(NamedTuple):
    """One stage of the loop, the `number`th of `total`; `round` is 0 for those before and after the rounds."""

    number: int
    total: int
    name: StageName
    round: int
    folder: Path

    @property
    def done(self) -> bool:
        """Whether its run is recorded as finished."""
        record = read_run(self.folder)
        return record is not None and record.status == "done"


Announce = Callable[[Stage], None]


def stages(config: Config) -> tuple[Stage, ...]:
    """All stages in their order."""
    named: list[tuple[StageName, int, Path]] = [("sft", 0, config.folder)]
    for number in range(1, config.rounds + 1):
        named += [(name, number, config.folder / f"round-{number}") for name in _OF_A_ROUND[_begins(config, number) :]]
    named.append(("evaluate", 0, config.folder))
    return tuple(Stage(i, len(named), name, n, parent / name) for i, (name, n, parent) in enumerate(named, start=1))


def run(config: Config, *, announce: Announce | None = None) -> Result:
    """The whole loop. The same command goes on after an interruption, with every answer kept.

    `announce` is told of each stage before it begins (default: a line on stderr). Raises LabellingPaused while people
    have not answered enough, and what the stages raise.
    """
    announce = announce or _say
    fine_tuned = sft.run(
        replace(
            config.sft,
            folder=_begin(config, announce, "sft"),
            model=config.model,
            prompts=config.prompts,
            seed=config.seed,
            **_place(config),
        )
    )
    rounds: list[Round] = []
    policy = fine_tuned.model
    for number in range(1, config.rounds + 1):
        rounds.append(run_round(config, number, start=fine_tuned.model, policy=policy, announce=announce))
        policy = rounds[-1].ppo.model
    return Result(fine_tuned, tuple(rounds), _evaluate(config, fine_tuned, rounds, announce))


def run_round(config: Config, number: int, *, start: str, policy: str, announce: Announce | None = None) -> Round:
    """Sample from `policy`, ask, train a reward model from `start` (the SFT model) on all answers, and PPO.

    An earlier round that is done stays done, whatever questions and withdrawals came after it; the last one is refused
    (CheckpointError) where the answers that it was made from have changed.
    """
    announce = announce or _say
    seed, place, earlier = config.seed + 1000 * (number - 1), _place(config), number < config.rounds
    # The reward model keeps the loop's seed: prompts that are held out stay held out, round after round.
    samples = None if _begins(config, number) else _sample(config, number, policy, announce)
    folder = _begin(config, announce, "ask", number)
    enough = config.ask.enough * number  # of all rounds together
    asked = ask.run(
        replace(config.ask, folder=folder, labellers=config.labellers, enough=enough, seed=seed, **place),
        as_begun=earlier,
    )
    learned = reward.run(
        replace(
            config.reward,
            folder=_begin(config, announce, "reward", number),
            model=start,
            up_to=asked.snapshot["up_to"],
            seed=config.seed,
            **place,
        ),
        as_done=earlier,
    )
    trained = ppo.run(
        replace(
            config.ppo,
            folder=_begin(config, announce, "ppo", number),
            policy=Path(policy),
            reward=tuple(
                (learned.model if spec == _SET_BY_THE_LOOP else spec, weight) for spec, weight in config.ppo.reward
            ),
            value=replace(config.ppo.value, start=Path(learned.model)),
            store=config.store,
            prompts=config.prompts,
            seed=seed,
        )
    )
    return Round(samples, asked, learned, trained)


def _sample(config: Config, number: int, policy: str, announce: Announce) -> sample.Result:
    return sample.run(
        replace(
            config.sample,
            folder=_begin(config, announce, "sample", number),
            model=policy,
            prompts=config.prompts,
            seed=config.seed + 1000 * (number - 1),
            **_guided(config, number),
            **_place(config),
        )
    )


def _begins(config: Config, number: int) -> int:
    """The first stage of a round: asking, where its questions were given."""
    return int(config.given and number == 1)


def _guided(config: Config, number: int) -> Mapping[str, Any]:
    """Where `sample.select` is given without selectors: the earlier rounds' reward models; random while too few."""
    method = config.sample.select
    if method is None or config.sample.selectors:
        return {}
    earlier = [str(s.folder / "model") for s in stages(config) if s.name == "reward" and s.round < number]
    enough = len(earlier) >= members_wanted(method)
    return {"select": method, "selectors": tuple(earlier)} if enough else {"select": "random"}


def _begin(config: Config, announce: Announce, name: StageName, number: int = 0) -> Path:
    """Announces a stage and returns its folder."""
    stage = next(s for s in stages(config) if (s.name, s.round) == (name, number))
    announce(stage)
    return stage.folder


def _placeholder(stage: StageName) -> Any:
    """A stage's configuration as it is where nobody says anything."""
    factory = Config.__dataclass_fields__[stage].default_factory
    assert callable(factory)
    return factory()


def _say(stage: Stage) -> None:
    of_round = f" of round {stage.round}" if stage.round else ""
    line = f"{stage.number}/{stage.total} {stage.name}{of_round}, in {stage.folder}{', done before' * stage.done}"
    Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)


def _place(config: Config) -> Mapping[str, Any]:
    return {"store": config.store, "project": config.project}


def _evaluate(config: Config, fine_tuned: sft.Result, rounds: list[Round], announce: Announce) -> evaluate.Result:
    """The contestants on the test prompts, blind."""
    roles = {"base": config.model, "sft": fine_tuned.model, "ppo": rounds[-1].ppo.model}
    roles |= {f"ppo-{n}": r.ppo.model for n, r in enumerate(rounds, start=1)}
    return evaluate.run(
        replace(
            config.evaluate,
            folder=_begin(config, announce, "evaluate"),
            policies=tuple(replace(policy, model=roles[policy.model]) for policy in config.evaluate.policies),
            prompts=config.prompts,
            against=_RIVALS,
            kl_to="sft",
            reward=rounds[-1].reward.model,
            seed=config.seed,
            **_place(config),
        )
    )
