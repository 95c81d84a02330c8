"""Simulated teachers: what a person would say of a clip, from what the clip shows.

Two ways to look: `Backflip` sees poses, as a person sees a film, and wants a backflip; `TrueReward` knows the true
reward of the clip's steps (sealed from the agent), as in the published measurements. How people err comes on top:
B-Pref's six kinds of teacher (arXiv 2111.03026, section 4.1) are settings of one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from backflip.config import require
from backflip.control.flips import TURN, contacts
from backflip.control.segments import Recorder, Segment
from backflip.errors import DataError
from backflip.feedback.oracle import SimulatedLabeller
from backflip.records import Answer, Labeller, Question

__all__ = ["B_PREF", "Backflip", "Clip", "Eye", "Teacher", "TeacherSettings", "TrueReward", "backflip_steps"]

Goal = Literal["backflip", "forward", "reward"]
Clip = tuple[Segment, NDArray[np.float64] | None]  # a segment and its sealed rewards


class Eye(Protocol):
    """How a teacher looks at a clip."""

    def steps(self, segment: Segment, rewards: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """A score for each step; DataError where the clip does not show what this eye looks at."""
        ...


class TrueReward:
    """Sees the true reward of each step, which nobody else does."""

    def steps(self, segment: Segment, rewards: NDArray[np.float64] | None) -> NDArray[np.float64]:
        if rewards is None:
            raise DataError(
                f"segment {segment.id[:12]} has no sealed reward; wanted one for a teacher that goes by it: cut the "
                "segment in a run whose teacher looks at the reward"
            )
        return rewards


class Backflip:
    """Sees poses: likes turning backwards in the air, and none of it with the body on the floor."""

    def __init__(self, *, penalty: float, roll: float = 0.0, power: float = 1.0) -> None:
        self.penalty, self.roll, self.power = penalty, roll, power

    def steps(self, segment: Segment, rewards: NDArray[np.float64] | None) -> NDArray[np.float64]:  # noqa: ARG002
        if segment.states is None or segment.states.shape[-1] != 6:
            raise DataError(f"a clip of {segment.env} does not show a Hopper; wanted one to judge its backflips by")
        return backflip_steps(segment.states, penalty=self.penalty, roll=self.roll, power=self.power)


RECENT: Final = 20  # clips that a teacher remembers, more or less
UPRIGHT_HEIGHT: Final = 0.9  # metres of the torso's middle, which stands at 1.25
UPRIGHT_ANGLE: Final = 0.6  # radians off the vertical


class Forward:
    """Sees poses: likes what comes forward on its foot, and not what falls down."""

    def steps(self, segment: Segment, rewards: NDArray[np.float64] | None) -> NDArray[np.float64]:  # noqa: ARG002
        if segment.states is None or segment.states.shape[-1] != 6:
            raise DataError(f"a clip of {segment.env} does not show a Hopper; wanted one to judge its way by")
        return forward_steps(segment.states)


def forward_steps(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The forward teacher's score of each step, (steps, ..), of poses (steps + 1, .., nq).

    On its foot, near upright, a step is worth 1 and as much for each centimetre forward; the body on the floor costs 1.
    """
    now = poses[1:]
    moved = 100 * np.diff(poses[..., 0], axis=0)
    upright = (now[..., 1] > UPRIGHT_HEIGHT) & (np.abs(now[..., 2]) < UPRIGHT_ANGLE)
    return np.where(upright, 1 + moved, 0.0) - contacts(now).body


def backflip_steps(
    poses: NDArray[np.float64], *, penalty: float, roll: float = 0.0, power: float = 1.0
) -> NDArray[np.float64]:
    """The backflip teacher's score of each step, (steps, ..), of poses (steps + 1, .., nq).

    Turns backwards count 20 each in the air, 0.3 of that on the foot, and `roll` of it with the body on the floor,
    where each step costs `penalty`. Turning forwards takes away all that it undoes, however it comes about: else
    rocking to and fro would be worth something. With a `power` above 1 the share of a turn that was made since the body
    last touched the floor counts by that power of it: two halves are worth less than one whole.
    """
    touch = contacts(poses[1:])
    turned = -np.diff(poses[..., 2], axis=0) / TURN
    worth = np.where(touch.body, roll, np.where(touch.foot, 0.3, 1.0))
    gained = turned if power == 1 else _gained(turned, touch.body, power)
    return np.asarray(20 * np.where(gained > 0, worth * gained, gained) - penalty * touch.body)


def _gained(turned: NDArray[np.float64], body: NDArray[np.bool_], power: float) -> NDArray[np.float64]:
    """What each step adds to the worth of the turn under way; a step with the body on the floor as much as it turns."""
    gained, done = turned.copy(), np.zeros(turned.shape[1:])
    for step, (more, touches) in enumerate(zip(turned, body, strict=True)):
        after = done + more
        gained[step] = np.where(touches, more, _worth(after, power) - _worth(done, power))
        done = np.where(touches, 0.0, after)
    return gained


def _worth(turns: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """Whole turns count one each, the rest by its power; turned forwards, all counts as it is."""
    whole = np.floor(np.maximum(turns, 0))
    return np.where(turns < 0, turns, whole + np.abs(turns - whole) ** power)


@dataclass(frozen=True)
class TeacherSettings:
    """A simulated teacher: what it looks at, and how it errs (B-Pref's parameters)."""

    goal: Goal = "backflip"
    """backflip, forward: the poses of a Hopper; reward: the true reward of a clip."""
    penalty: float = 0.05
    """Backflip: what a step with the body on the floor costs; a turn backwards in the air is worth 20."""
    roll: float = 0.0
    """Backflip: the share of its worth that a turn keeps with the body on the floor."""
    power: float = 1.0
    """Backflip: the share of a turn since the body last touched the floor counts by this power of it: 1: as it is; 2:
    half a turn is worth a quarter."""
    strict: float = 0.3
    """Backflip: the penalty of a teacher that has become strict, to whom rolling is worth nothing: people are lenient
    with a beginner alone."""
    strict_above: float = math.inf
    """The teacher becomes strict, for good, when the clips that it has seen lately score this much a step."""
    beta: float = 0.0
    """Rationality: P(better) = sigmoid(beta * difference); 0: always the better one (B-Pref's beta of infinity)."""
    gamma: float = 1.0
    """Myopia: a step weighs gamma to the number of steps that follow it in the clip."""
    mistakes: float = 0.1
    """The share of answers that are turned round."""
    skip: float = 0.0
    """No answer where both clips score below this share of what the policy's clips score now."""
    equal: float = 0.0
    """Clips whose scores differ by no more than this share of the same are tied."""
    margin: float = 0.0
    """Clips whose scores differ by no more than this are tied: nobody sees a difference so small."""

    def __post_init__(self) -> None:
        for name in ("penalty", "roll", "strict", "strict_above", "beta", "skip", "equal", "margin"):
            require(getattr(self, name) >= 0, name, seen=getattr(self, name), wanted="0 or more")
        require(self.power >= 1, "power", seen=self.power, wanted="1 or more")
        require(0 < self.gamma <= 1, "gamma", seen=self.gamma, wanted="above 0, and 1 at most")
        require(0 <= self.mistakes <= 1, "mistakes", seen=self.mistakes, wanted="a share from 0 to 1")


# B-Pref, section 4.1 and its appendix. The thresholds of skip and equal follow the policy's mean score of a clip.
B_PREF: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "oracle": {"mistakes": 0.0},
        "stochastic": {"mistakes": 0.0, "beta": 1.0},
        "myopic": {"mistakes": 0.0, "gamma": 0.9},
        "mistake": {"mistakes": 0.1},
        "skip": {"mistakes": 0.0, "skip": 0.1},
        "equal": {"mistakes": 0.0, "equal": 0.1},
    }
)


def _eye(settings: TeacherSettings) -> Eye:
    if settings.goal == "backflip":
        return Backflip(penalty=settings.penalty, roll=settings.roll, power=settings.power)
    return Forward() if settings.goal == "forward" else TrueReward()


class Teacher:
    """Answers questions about clips. What it sees and how it errs are two things."""

    def __init__(self, settings: TeacherSettings, *, seed: int, eye: Eye | None = None) -> None:
        self.settings = settings
        self._lenient: Eye = eye or _eye(settings)
        self._strict: Eye = eye or _eye(replace(settings, penalty=settings.strict, roll=0.0))
        self.usual, self.strict = 0.0, False  # the mean score a step of late, by the lenient eye
        self._labeller = SimulatedLabeller(
            seed,
            f"teacher-{settings.goal}",
            temperature=1 / settings.beta if settings.beta else 0.0,
            mistakes=settings.mistakes,
        )

    @property
    def labeller(self) -> Labeller:
        """Under which name the answers stand in the store."""
        return self._labeller.labeller

    @property
    def eye(self) -> Eye:
        """How it looks at clips by now."""
        return self._strict if self.strict else self._lenient

    def _notice(self, scores: Sequence[float], weight: float) -> None:
        """Takes in how good clips are by now (mean scores a step), and becomes strict where that is enough."""
        for score in scores:
            self.usual += weight * (score - self.usual)
            self.strict = self.strict or self.usual >= self.settings.strict_above

    def state(self) -> dict[str, Any]:
        """What it remembers."""
        return {"usual": self.usual, "strict": self.strict}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to what it remembered."""
        self.usual, self.strict = float(state["usual"]), bool(state["strict"])

    def score(self, segment: Segment, rewards: NDArray[np.float64] | None = None) -> float:
        """How good the clip is: the sum over its steps, the last ones weighing most where the teacher is myopic."""
        steps = self.eye.steps(segment, rewards)
        ages = np.arange(len(steps))[::-1]
        return float((steps * self.settings.gamma**ages).sum())

    def score_rollout(self, recorder: Recorder) -> NDArray[np.float64]:
        """The exact score of each step of a whole rollout, (steps, environments): what no answer ever tells."""
        clips = recorder.cut([(env, 0) for env in range(recorder.actions.shape[1])], len(recorder))
        steps = np.stack([self.eye.steps(*clip) for clip in clips], axis=1)
        if not self.strict:
            self._notice([float(steps.mean())], weight=0.5)
        return steps

    def answer(self, questions: Sequence[tuple[Question, Mapping[str, Clip]]]) -> list[Answer]:
        """Answers to questions that were asked together, from the clips of their candidates (by candidate id)."""
        scores = [{key: self.score(*clip) for key, clip in clips.items()} for _, clips in questions]
        if not self.strict:
            seen = (clip for _, clips in questions for clip in clips.values())
            self._notice([float(self.eye.steps(*clip).mean()) for clip in seen], weight=1 / RECENT)
        usual = abs(float(np.mean([score for found in scores for score in found.values()]))) if scores else 0.0
        labeller = replace(
            self._labeller,
            tie_margin=max(self.settings.margin, self.settings.equal * usual),
            cannot_tell_below=self.settings.skip * usual if self.settings.skip else None,
        )
        return [labeller.answer(question, found) for (question, _), found in zip(questions, scores, strict=True)]
