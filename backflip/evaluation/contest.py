"""Policies with their answers and what judges say of them: their figures, and who meets whom.

A best-of-n picks from samples 0..n-1 of its source and meets the source's `reserve`, a sample that it could not pick.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backflip.config import require
from backflip.evaluation.answers import Written
from backflip.evaluation.people import preferred_tally
from backflip.evaluation.ratings import Verdicts, length_controlled
from backflip.evaluation.winrate import Tally, mean_score, near_in_length, tally, win_rate
from backflip.maths.kl import best_of_n_kl_bound
from backflip.records import Answer, Candidate

__all__ = ["RM", "Drawn", "Entry", "Policy", "Source", "figures", "people_rates", "shown_answers"]

RM = "rm"  # the reward model's name among the judges
Source = tuple[str, str | None]


@dataclass(frozen=True)
class Policy:
    """One contestant: a model folder, perhaps under a system message, perhaps as best of n by the reward model.

    In place of a message `system` may name a function that rewrites each prompt: `python:module:function`.
    """

    name: str
    model: str
    system: str | None = None
    best_of: int = 1

    def __post_init__(self) -> None:
        named = re.fullmatch(r"\w[\w.-]*", self.name) is not None
        require(named, "policies.name", seen=self.name, wanted="letters, digits, _, . and -: it names a file")
        require(self.best_of >= 1, "policies.best_of", seen=self.best_of, wanted="1 or more")

    @property
    def source(self) -> Source:
        """What the samples depend on: policies of one source share them."""
        return self.model, self.system


@dataclass(frozen=True)
class Drawn:
    """All answers of one source, (prompt, sample), and what each judge says of them.

    `reserve` is a sample that no best-of of this source picks from; `kl` is None where none was measured.
    """

    source: Source
    answers: list[list[Written]]
    scores: Mapping[str, list[list[float]]]
    parts: Mapping[str, list[list[Mapping[str, float]]]]
    reserve: int = 0
    kl: list[list[float]] | None = None


@dataclass(frozen=True)
class Entry:
    """A policy and which samples are its answers, prompt by prompt."""

    policy: Policy
    drawn: Drawn
    own: list[tuple[int, ...]]

    @property
    def picks(self) -> bool:
        return self.policy.best_of > 1

    def pick(self, values: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """(prompt, sample) values of the source -> those of this policy's own answers."""
        return [[row[k] for k in own] for row, own in zip(values, self.own, strict=True)]

    def meets(self, other: Entry, prompt: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Which samples of ours meet which of the other's."""
        ours, theirs = self.own[prompt], other.own[prompt]
        if self.drawn.source == other.drawn.source and self.picks != other.picks:
            spare = (self.drawn.reserve,)
            return (ours, spare) if self.picks else (spare, theirs)
        return ours, theirs

    def single(self, prompt: int) -> int:
        """The one sample that stands for this policy where people compare."""
        return self.own[prompt][0] if self.picks else self.drawn.reserve

    def candidate(self, prompt: int) -> Candidate:
        """That sample as people see it."""
        written = self.drawn.answers[prompt][self.single(prompt)]
        return Candidate(text=written.text, ended=written.ended)


def figures(entry: Entry, others: Mapping[str, Entry], *, reference: Policy | None, seed: int) -> dict[str, Any]:
    """All figures of one policy, its win rates against each of `others`; `reference` is whom `kl` was measured to."""
    flat: list[Written] = [w for row in entry.pick(entry.drawn.answers) for w in row]
    judges = list(entry.drawn.scores)

    def rates(*, near: bool) -> dict[str, Any]:
        return {by: {name: _rate(entry, o, by, near, seed) for name, o in others.items()} for by in judges}

    return {
        "model": entry.policy.model,
        "system": entry.policy.system,
        "best_of": entry.policy.best_of,
        "judges": {by: _judged(entry, by, seed) for by in judges if by != RM},
        "rm": mean_score(entry.pick(entry.drawn.scores[RM])).value if RM in judges else None,
        "kl": _kl(entry, reference, seed),
        "tokens": float(np.mean([len(w.tokens) for w in flat])),
        "eos_share": float(np.mean([w.ended for w in flat])),
        "win_rates": rates(near=False),
        "same_length": rates(near=True),
        "length_controlled": {
            by: {name: _controlled(entry, o, by, seed) for name, o in others.items()} for by in judges
        },
    }


def people_rates(
    entry: Entry, others: Mapping[str, Entry], answered: Sequence[Sequence[Answer]], *, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Win rates by people against each of `others`: over all prompts, and where both texts are near in length."""
    whole: dict[str, Any] = {}
    near: dict[str, Any] = {}
    for name, other in others.items():
        tallies = [
            preferred_tally(entry.candidate(i).id, other.candidate(i).id, answers) for i, answers in enumerate(answered)
        ]
        kept = [
            one
            for i, one in enumerate(tallies)
            if _near(entry, other, i, ours=[entry.single(i)], theirs=[other.single(i)]).all()
        ]
        whole[name], near[name] = _rated(tallies, seed), _rated(kept, seed)
    return whole, near


def shown_answers(
    entries: Mapping[str, Entry], greedy: Mapping[str, Entry], prompt: int, *, greedy_prompt: int
) -> dict[str, Any]:
    """Each policy's answer to one prompt (number `greedy_prompt` among greedy ones, where there are any), scored."""
    answers: dict[str, Any] = {}
    for name, entry in entries.items():
        shown, row = (greedy[name], greedy_prompt) if name in greedy else (entry, prompt)
        k = shown.own[row][0]
        written = shown.drawn.answers[row][k]
        scores = {by: rows[row][k] for by, rows in shown.drawn.scores.items()}
        answers[name] = {"text": written.text, "ended": written.ended, "greedy": name in greedy, "scores": scores}
    return answers


def _judged(entry: Entry, by: str, seed: int) -> dict[str, Any]:
    interval = mean_score(entry.pick(entry.drawn.scores[by]), seed=seed)
    parts: dict[str, float] = {}
    if by in entry.drawn.parts:
        rows = entry.pick(entry.drawn.parts[by])
        parts = {name: mean_score([[part[name] for part in row] for row in rows]).value for name in rows[0][0]}
    return {**interval._asdict(), "parts": parts}


def _kl(entry: Entry, reference: Policy | None, seed: int) -> dict[str, Any] | None:
    """Nats a sequence; of a best of n over the reference itself its bound, and over another policy nothing."""
    if reference is None or entry.drawn.kl is None:
        return None
    if not entry.picks:
        interval = mean_score(entry.pick(entry.drawn.kl), seed=seed)
        return {**interval._asdict(), "to": reference.name, "bound": False}
    if entry.drawn.source != reference.source:
        return None
    bound = best_of_n_kl_bound(entry.policy.best_of)
    return {"value": bound, "low": bound, "high": bound, "to": reference.name, "bound": True}


def _rate(ours: Entry, theirs: Entry, by: str, near: bool, seed: int) -> dict[str, float] | None:
    """Win rate over all sample pairs within a prompt, or over those that ended and are near in length."""
    tallies = []
    for i in range(len(ours.own)):
        a, b = ours.meets(theirs, i)
        mine, other = ours.drawn.scores[by][i], theirs.drawn.scores[by][i]
        keep = _near(ours, theirs, i, ours=a, theirs=b) if near else None
        tallies.append(tally([mine[k] for k in a], [other[k] for k in b], keep=keep))
    return _rated(tallies, seed)


def _near(left: Entry, right: Entry, prompt: int, *, ours: Sequence[int], theirs: Sequence[int]) -> NDArray[np.bool_]:
    mine = [left.drawn.answers[prompt][k] for k in ours]
    other = [right.drawn.answers[prompt][k] for k in theirs]
    return near_in_length(
        ours=[len(w.tokens) for w in mine],
        theirs=[len(w.tokens) for w in other],
        ours_ended=[w.ended for w in mine],
        theirs_ended=[w.ended for w in other],
    )


def _rated(tallies: Sequence[Tally], seed: int) -> dict[str, float] | None:
    rate = win_rate(tallies, seed=seed)
    return None if rate is None else dict(rate._asdict())


def _controlled(ours: Entry, theirs: Entry, by: str, seed: int) -> dict[str, float] | None:
    """The win rate at equal lengths, in tokens."""
    verdicts = []
    for i in range(len(ours.own)):
        a, b = ours.meets(theirs, i)
        mine, other = np.array(ours.drawn.scores[by][i])[list(a)], np.array(theirs.drawn.scores[by][i])[list(b)]
        points = (mine[:, None] > other[None, :]) + 0.5 * (mine[:, None] == other[None, :])
        lengths = [
            np.array([len(entry.drawn.answers[i][k].tokens) for k in own]) for entry, own in ((ours, a), (theirs, b))
        ]
        verdicts.append(Verdicts(points.ravel(), (lengths[0][:, None] - lengths[1][None, :]).ravel()))
    rate = length_controlled(verdicts, seed=seed)
    return None if rate is None else dict(rate._asdict())
