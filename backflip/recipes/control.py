"""Deep RL from human preferences: an agent acts, people compare two clips, a predictor learns what they want (H).

    python -m backflip.recipes.control --folder runs/hopper --teacher.goal backflip

One process, deterministic by its seed: rollout, answers, predictor, update, and on. Questions and answers meet in the
store, so people may answer while it runs; a simulated teacher answers at once. The true reward is dropped before it
reaches the agent; an evaluator apart scores the policy at the end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from backflip.config import LATER, NOT_FINGERPRINTED, require
from backflip.control.agent import PPOSettings
from backflip.control.agents import Settings
from backflip.control.asking import AskingSettings, choose_pairs, due, random_pairs
from backflip.control.contest import best_of
from backflip.control.conversation import Conversation, Film
from backflip.control.envs import EnvSettings
from backflip.control.evaluator import evaluate
from backflip.control.flips import count_flips, mean_flips
from backflip.control.goals import GOALS
from backflip.control.learner import Learner, Stage, seed_of
from backflip.control.predictor import Comparisons, Ensemble, PredictorSettings
from backflip.control.rewards import hand_written
from backflip.control.sac import SACSettings
from backflip.control.segments import Recorder, SegmentFolder
from backflip.control.teachers import Eye, Teacher, TeacherSettings
from backflip.errors import DataError
from backflip.feedback.store import Store
from backflip.recipes.command import command
from backflip.records import Answer, Question
from backflip.runs import Parent, Run, open_run, progress, require_finite
from backflip.runs.checkpoint import discard, load_latest, save

__all__ = ["POLICY", "Config", "Result", "earlier_answers", "main", "require_earlier", "run"]

_log = logging.getLogger(__name__)

Reward = Literal["answers", "teacher_score", "hand_written", "random"]

POLICY = "policy"  # the folder of the policy that a run ends with
_WATCHED = 16  # environments whose flips are counted
_APART = 4  # rollouts from one contender to the next


@dataclass(frozen=True)
class Config:
    """Trains an agent on what people (or a simulated teacher) answer about its clips."""

    folder: Path = field(metadata=NOT_FINGERPRINTED)
    """The run's folder; the store is its `feedback.db` unless one is named, the clips lie in its `segments`."""
    env: EnvSettings = field(default_factory=EnvSettings)
    algorithm: Literal["ppo", "sac"] = field(default="ppo", metadata=LATER)
    """The agent: ppo learns from a rollout once; sac, off-policy, from all that it remembers (PEBBLE)."""
    agent: PPOSettings = field(default_factory=PPOSettings)
    sac: SACSettings = field(default_factory=SACSettings, metadata=LATER)
    predictor: PredictorSettings = field(default_factory=PredictorSettings)
    asking: AskingSettings = field(default_factory=AskingSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    reward: Reward = "answers"
    """What the agent learns from: answers; or, to compare with, the teacher's exact score of each step, a hand-written
    reward, or nothing (random)."""
    labellers: Literal["simulated", "people"] = "simulated"
    """Who answers: the teacher, here and at once; or people (and teachers in other processes), through the store."""
    wanted: str = "Which clip is nearer to a backflip that lands on its foot?"
    """What people are asked."""
    steps: int = 1_000_000
    """Environment steps in all, rounded up to whole rollouts."""
    stages: tuple[tuple[float, int], ...] = ()
    """(share, horizon): until this share of the steps, episodes are so long; then as env.horizon says."""
    stagger: bool = False
    """Episodes of different environments begin at different rollouts, so that every rollout sees all of an episode."""
    clip: int = 60
    """Steps of a clip (H: 1.5 seconds, 15 to 60 steps; Atari 25)."""
    first_fit: int = 500
    """Predictor steps after the answers about the random policy."""
    fit: int = 100
    """Predictor steps after each rollout that brought answers."""
    last_answers: int = 0
    """Learn from the newest so many answers (H: 3,000 in Atari); 0: from all."""
    answers: tuple[Path, ...] = ()
    """Folders of earlier runs whose answers are learned from too; they count on top of the budget."""
    store: str | None = field(default=None, metadata=NOT_FINGERPRINTED)
    """The feedback store, a path or URL; the run's own by default."""
    project: str = "control"
    """The store's project."""
    contenders: int = 0
    """So many of the last policies, a few rollouts apart, play whole episodes at the end; the one that the reward as it
    then is likes best is kept. 0: the last one is."""
    episodes: int = 20
    """Episodes of the evaluation at the end."""
    evaluation_horizon: int = 1000
    """Steps of each of them."""
    checkpoint_every: int = 10
    """Rollouts from one checkpoint to the next; the environments begin anew there, so it is part of the numbers."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "clip", "first_fit", "fit", "episodes", "evaluation_horizon", "checkpoint_every"):
            require(getattr(self, name) >= 1, name, seen=getattr(self, name), wanted="1 or more")
        require(
            self.predictor.target == "comparisons" or (self.labellers == "simulated" and not self.answers),
            "predictor.target",
            seen=self.predictor.target,
            wanted="'comparisons', unless a simulated teacher of this run gives all answers: nobody else has scores",
        )
        require(
            self.clip <= self.learns.steps,
            "clip",
            seen=self.clip,
            wanted=f"no more than the {self.learns.steps} steps of a rollout",
        )

    @property
    def place(self) -> str:
        """Where the store is."""
        return self.store or str(self.folder / "feedback.db")

    @property
    def learns(self) -> Settings:
        """The settings of the agent that learns."""
        return self.agent if self.algorithm == "ppo" else self.sac

    @property
    def rollouts(self) -> int:
        """Rollouts in all."""
        return -(-self.steps // (self.learns.steps * self.env.count))

    @property
    def sealed(self) -> bool:
        """Whether a simulated teacher goes by the true reward, so that the environments' wrapper seals it for it."""
        return self.labellers == "simulated" and self.teacher.goal == "reward"

    @property
    def whole_steps(self) -> int:
        """The steps of all rollouts: what a run ends with."""
        return self.rollouts * self.learns.steps * self.env.count


@dataclass(frozen=True)
class Result:
    """What a run ends with: means over evaluation episodes. `flips` are a Hopper's, `measured` the goal's figures."""

    env: str
    reward: str
    steps: int
    answers: int
    cpu_seconds: float
    true_return: float
    flips: Mapping[str, float] | None
    measured: Mapping[str, float] | None = None

    def __str__(self) -> str:
        flips = "" if self.flips is None else f", {self.flips['clean_flips']:.2f} clean flips per 1000 steps"
        flips += "".join(f", {name} {value:.2f}" for name, value in (self.measured or {}).items())
        return (
            f"{self.env} after {self.steps} steps and {self.answers} answers: true return {self.true_return:.1f}"
            f"{flips}; {self.cpu_seconds:.0f} seconds of one core"
        )


def run(
    config: Config,
    *,
    film: Film | None = None,
    eye: Eye | None = None,
    after_rollout: Callable[[int], None] | None = None,
) -> Result:
    """Trains and evaluates; the same folder goes on or is done.

    `film` makes the media that people look at, `eye` is what the simulated teacher goes by instead of its goal, and
    `after_rollout` is called with the number of rollouts so far.

    Raises DependencyError, ConfigError or TrainingDiverged as the environment does, DataError where reused answers do
    not fit, CheckpointError where the folder is of other work.
    """
    parents = [Parent("data", str(folder / "feedback.db"), {}) for folder in config.answers]
    with (
        open_run(config.folder, recipe="control", config=config, seed=config.seed, parents=parents) as ledger,
        ExitStack() as stack,
    ):
        if not ledger.done:
            work = _Work(config, stack, film, eye)
            work.train(ledger, after_rollout)
            work.settle()
            save(config.folder / POLICY, work.learner.rollouts, work.policy(), fingerprint=ledger.fingerprint, keep=1)
            ledger.finish(asdict(work.result()))
            discard(config.folder / "checkpoints")
        return Result(**ledger.result)


class _Work:
    """Agent, predictor, teacher and conversation of one run."""

    def __init__(self, config: Config, stack: ExitStack, film: Film | None, eye: Eye | None) -> None:
        self.config = config
        self.learner = Learner(
            config.env,
            config.learns,
            seed=config.seed,
            reseed_every=config.checkpoint_every,
            stages=[Stage(round(share * config.steps), horizon) for share, horizon in config.stages],
            stagger=config.stagger,
            witness=config.sealed,
        )
        stack.callback(self.learner.close)
        store = stack.enter_context(Store.open(config.place))
        self.conversation = Conversation(
            store, SegmentFolder(config.folder), project=config.project, wanted=config.wanted, film=film
        )
        self.teacher = Teacher(config.teacher, seed=config.seed, eye=eye)
        self.ensemble = Ensemble(self.learner.envs.space, config.predictor, seed=config.seed)
        self.reused = earlier_answers(config)
        self.asked: list[str] = []
        self.heard: list[int] = []
        self.new: list[Question] = []
        self.data = self.reused
        self.fitted = self.refitted = False  # ever, and since the rewards were last on one scale
        self.kept: list[dict[str, Tensor]] = []
        self.cpu = 0.0

    # --- the loop

    def train(self, ledger: Run, after_rollout: Callable[[int], None] | None) -> None:
        """Every rollout from the last checkpoint on."""
        config, folder = self.config, self.config.folder / "checkpoints"
        if checkpoint := load_latest(folder, fingerprint=ledger.fingerprint):
            self.restore(checkpoint.state)
        ledger.metrics.truncate(self.learner.rollouts)
        with progress(config.rollouts, "control", done=self.learner.rollouts) as step:
            while self.learner.rollouts < config.rollouts and config.reward != "random":
                started = time.process_time()
                metrics = self.turn()
                self.keep()
                self.cpu += time.process_time() - started
                number = self.learner.rollouts
                require_finite(number, metrics)
                ledger.metrics.write(number, metrics | {"time/cpu": self.cpu})
                if number % config.checkpoint_every == 0:
                    save(folder, number, self.state(), fingerprint=ledger.fingerprint)
                step(note=f"{self.learner.steps} steps, {len(self.heard)} answers")
                if after_rollout:
                    after_rollout(number)

    def turn(self) -> dict[str, float]:
        """One rollout, and what is learned from it."""
        self.learner.rollout()
        metrics: dict[str, float] = {"control/steps": self.learner.steps}
        if (paid := self.learner.recorder.paid()) is not None:
            metrics["control/true_reward"] = paid  # written, and read by nothing that learns
        if self.config.reward == "answers":
            if self.learner.agent.curious:  # it explores by itself before anybody is asked
                return metrics | self.learner.explore()
            metrics |= self.listen()
            if self.data is None:  # nothing to learn from yet: the agent keeps exploring as it is
                self.learner.forget()
                _log.warning("no answers yet after %d steps: the agent explores and waits", self.learner.steps)
                return metrics | {"control/waiting": 1.0}
        rewards = self.rewards()
        metrics |= {"control/reward": float(rewards.mean())} | self.watch()
        return metrics | self.learner.learn(rewards, self.learner.rollouts / self.config.rollouts)

    def watch(self) -> dict[str, float]:
        """What an onlooker counts in the rollout's first environments: for people's eyes, nothing learns from it."""
        poses = self.learner.recorder.poses
        if poses is None or not self.config.env.env.startswith("Hopper"):
            return {}
        found = mean_flips([count_flips(poses[:, env]) for env in range(min(_WATCHED, poses.shape[1]))])
        return {f"flips/{name}": value for name, value in asdict(found).items()}

    def rewards(self) -> Tensor:
        """The rewards of the rollout, (steps, count)."""
        if self.config.reward != "answers":
            return self.rewards_of(self.learner.recorder)
        anew, self.refitted = self.refitted, False
        return self.learner.judged(self.ensemble, anew=anew)

    def rewards_of(self, recorder: Recorder) -> Tensor:
        """The rewards of other steps, on the scale of the last rollout."""
        observations, actions, reward = recorder.observations, recorder.actions, self.config.reward
        if reward == "answers":
            return self.ensemble.rewards(torch.from_numpy(observations), torch.from_numpy(actions))
        if reward == "hand_written":
            return torch.from_numpy(hand_written(observations, actions)).float()
        return torch.from_numpy(self.teacher.score_rollout(recorder)).float()

    # --- asking and listening

    def listen(self) -> dict[str, float]:
        """Asks what is due, takes in what was answered, and fits the predictor where something was."""
        wanted = due(self.config.asking, step=self.learner.steps, steps=self.config.steps)
        self.ask(wanted - len(self.asked))
        fresh = self.fresh()
        if fresh:
            self.heard += [number for number, _ in fresh]
            self.data = self.compared(fresh)
        if self.data is None or (self.fitted and not fresh):
            return {}
        steps = self.config.fit if self.fitted else self.config.first_fit
        self.fitted = self.refitted = True
        return self.ensemble.fit(self.data, steps=steps)

    def ask(self, count: int) -> None:
        """Asks about pairs of clips of the last rollout; the simulated teacher answers."""
        if count <= 0:
            return
        asking, recorder = self.config.asking, self.learner
        clips = recorder.segments(2 * count * asking.factor, self.config.clip, purpose="clips")
        draw = np.random.default_rng(seed_of(self.config.seed, "pairs", recorder.rollouts))
        pairs = random_pairs(len(clips), count * asking.factor, draw)
        sums = self.ensemble.sums(
            torch.from_numpy(np.stack([s.observations for s, _ in clips])),
            torch.from_numpy(np.stack([s.actions for s, _ in clips])),
        )
        chosen = choose_pairs(
            sums,
            pairs,
            count=count,
            method="random" if self.data is None else asking.method,
            seed=seed_of(self.config.seed, "choice", recorder.rollouts),
            lapse=self.config.predictor.lapse,
        )
        origin = f"rollout {recorder.rollouts}"
        self.new = self.conversation.ask([(clips[i], clips[j]) for i, j in chosen], origin=origin)
        self.asked += [question.id for question in self.new]

    def fresh(self) -> list[tuple[int, Answer]]:
        """Answers that were not heard yet, with their numbers."""
        if self.config.labellers == "simulated":
            new, self.new = self.new, []
            return self.conversation.have_answered(self.teacher, new)
        return list(self.conversation.answers(after=max(self.heard, default=0)))

    def compared(self, fresh: list[tuple[int, Answer]]) -> Comparisons | None:
        """All that was answered so far, or the newest of it; None where nothing says which is better."""
        score = None if self.config.predictor.target == "comparisons" else lambda clip: self.teacher.score(*clip)
        parts = [self.data, self.conversation.comparisons(fresh, score=score)]
        known = [part for part in parts if part is not None]
        if not known:
            return None
        data = known[0].join(known[1]) if len(known) == 2 else known[0]
        return data.last(self.config.last_answers) if self.config.last_answers else data

    # --- checkpoints and result

    def keep(self) -> None:
        """Keeps the policy as it is, if it is one of the contenders."""
        left = self.config.rollouts - self.learner.rollouts
        if left % _APART == 0 and left < _APART * self.config.contenders:
            self.kept.append({name: value.clone() for name, value in self.learner.agent.net.state_dict().items()})

    def settle(self) -> None:
        """The best of the contenders, by the reward as it is now, is the policy."""
        if self.kept and (self.fitted or self.config.reward != "answers"):
            env = replace(self.config.env, horizon=self.config.evaluation_horizon)
            seed, sealed = self.config.seed, self.config.sealed
            place, scores = best_of(self.learner.agent, self.kept, env, self.rewards_of, seed=seed, witness=sealed)
            _log.info("policy %d of %d is kept: %s", place + 1, len(scores), [round(score, 3) for score in scores])

    def policy(self) -> dict[str, Any]:
        """What a film or another run needs of the agent."""
        return {"learner": {"agent": self.learner.agent.state()}}

    def state(self) -> dict[str, Any]:
        """For a checkpoint. The answers themselves are in the store."""
        parts: dict[str, Learner | Ensemble | Teacher] = {
            "learner": self.learner,
            "ensemble": self.ensemble,
            "teacher": self.teacher,
        }
        numbers = {"asked": self.asked, "heard": self.heard, "fitted": self.fitted, "cpu": self.cpu}
        return {**{name: part.state() for name, part in parts.items()}, **numbers, "kept": self.kept}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to a checkpoint; answers that were withdrawn since are left out."""
        self.learner.restore(state["learner"])
        self.ensemble.restore(state["ensemble"])
        self.teacher.restore(state["teacher"])
        self.asked, self.heard = list(state["asked"]), list(state["heard"])
        self.fitted, self.cpu, self.kept = bool(state["fitted"]), float(state["cpu"]), list(state["kept"])
        order = {number: place for place, number in enumerate(self.heard)}
        answers = sorted((a for a in self.conversation.answers() if a[0] in order), key=lambda a: order[a[0]])
        self.data = self.reused
        self.data = self.compared(answers)

    def result(self) -> Result:
        """Evaluates the policy as it is."""
        config, agent = self.config, self.learner.agent
        goal = GOALS.get(config.teacher.goal)
        goal = goal if goal and goal.env == config.env.env else None
        found = evaluate(
            lambda seen: agent.act(seen, greedy=config.reward != "random").actions.numpy(),
            config.env,
            episodes=config.episodes,
            horizon=config.evaluation_horizon,
            pictures=goal is not None and goal.pictures,
        )
        shown = found.pictures if goal and goal.pictures else found.poses
        return Result(
            env=config.env.env,
            reward=config.reward,
            steps=self.learner.steps,
            answers=len(self.heard),
            cpu_seconds=round(self.cpu, 1),
            true_return=float(np.mean(found.true_returns)),
            flips=None if found.mean_flips is None else asdict(found.mean_flips),
            measured=None if goal is None or shown is None else goal.measured(shown),
        )


def earlier_answers(config: Config) -> Comparisons | None:
    """What the answers of earlier runs say, None where they say nothing; DataError where there is no such run."""
    require_earlier(config)
    found: Comparisons | None = None
    for folder in config.answers:
        with Store.open(folder / "feedback.db") as store:
            earlier = Conversation(store, SegmentFolder(folder), project=config.project, wanted=config.wanted)
            said = earlier.comparisons(earlier.answers())
        if said is not None:
            found = said if found is None else found.join(said)
    return found


def require_earlier(config: Config) -> None:
    """DataError where a run whose answers are to be reused is not there."""
    for folder in config.answers:
        if not (folder / "feedback.db").exists():
            raise DataError(
                f"{folder} has no feedback.db, so there are no answers to reuse; wanted the folder of an earlier run "
                "of control that kept its own store"
            )


def main() -> None:
    """`python -m backflip.recipes.control`."""
    command(Config, run, description=__doc__, alone=True)


if __name__ == "__main__":
    main()
