"""The figures of the Quality page, from the answers of one project: each of them by labeller and by group."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from backflip.errors import DataError
from backflip.feedback import quality
from backflip.feedback.consensus import Consensus, ranked_pairs
from backflip.feedback.projects import GOLD, TESTS
from backflip.feedback.quality import Disputed, Pace, PositionBias, Rate
from backflip.feedback.quality.relations import by_question
from backflip.feedback.store import Store
from backflip.records import Answer, LabellerKind, Question
from backflip.runs.lineage import RunRecord, list_runs

__all__ = ["MOST", "Dispute", "Figures", "Kind", "Line", "RewardModel", "figures", "newest_reward_model", "own_figures"]

Kind = Literal["person", "simulated", "import", "all"]
T = TypeVar("T")
MOST = 10_000  # the newest answers: enough for narrow intervals, and a second or two of work
_DISPUTES = 12


class Line(NamedTuple):
    """The figures of a labeller, of a group, or of everybody; None where there is nothing to count."""

    name: str
    kind: str
    pace: Pace
    agreement: Rate | None
    ceiling: Rate | None
    position: PositionBias | None
    gold: quality.Gold | None
    random: bool


class Dispute(NamedTuple):
    """A question on which labellers differ, their answers, and what they hold together."""

    question: Question
    about: Disputed
    answers: list[Answer]
    consensus: Consensus | None


class RewardModel(NamedTuple):
    """A reward model that learned from this store: its run and its accuracy on held-out comparisons."""

    run: RunRecord
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Figures:
    """Everything that the page shows of a project; `left_out` older answers were not counted."""

    answers: int
    left_out: int
    questions: int
    several: int
    kinds: dict[str, int]
    overall: Line
    alpha: float | None
    tau: float | None
    labellers: list[Line]
    groups: dict[str, list[Line]]
    days: dict[str, int]
    disputes: list[Dispute]


def figures(store: Store, project: str, *, kind: Kind = "all", disputes: int = _DISPUTES) -> Figures:
    """The figures of the newest `MOST` answers of labellers of one kind; makers give references, and no figures."""
    everything, left_out = _newest(store, project)
    given = [a for a in everything if kind in ("all", a.labeller.kind) and a.labeller.kind != "maker"]
    usual, tested, references = _apart(store, project, given, everything)
    keys = sorted({key for a in given for key in a.labeller.groups})
    named = {a.labeller.id: a.labeller.kind for a in given}
    chance, agreed = quality.answers_at_random(usual), quality.agreement_by_labeller(usual)
    ceilings = quality.ceiling_by_labeller(usual)
    marks = quality.gold_by_labeller([*tested, *references])
    lines = [
        Line(
            name=name,
            kind=named[name],
            pace=quality.pace(own),
            agreement=agreed.get(name),
            ceiling=ceilings.get(name),
            position=_if_any(lambda own=own: quality.position_bias(own)),
            gold=marks.get(name),
            random=name in chance and chance[name].random,
        )
        for name, own in quality.by_labeller(given).items()
    ]
    return Figures(
        answers=len(given),
        left_out=left_out,
        questions=len({a.question for a in given}),
        several=len(by_question(usual)),
        kinds=_kinds(everything),
        overall=_overall(usual, given, tested, references),
        alpha=_finite(_if_any(lambda: quality.preference_alpha(usual))),
        tau=_finite(quality.mean_tau(usual)),
        labellers=sorted(lines, key=lambda line: -line.pace.answers),
        groups={key: _groups(key, usual, given, tested, references) for key in keys},
        days=quality.answers_by_day(given),
        disputes=_disputes(store, usual, disputes),
    )


def own_figures(store: Store, project: str, labeller: str) -> Line | None:
    """What a labeller may see: the own figures. Agreement is with all others together, none of whom is named."""
    everything, _ = _newest(store, project)
    given = [a for a in everything if a.labeller.kind != "maker"]
    own = [a for a in given if a.labeller.id == labeller]
    if not own:
        return None
    usual, tested, references = _apart(store, project, given, everything)
    return Line(
        name=labeller,
        kind=own[0].labeller.kind,
        pace=quality.pace(own),
        agreement=quality.agreement_by_labeller(usual).get(labeller),
        ceiling=quality.ceiling_by_labeller(usual).get(labeller),
        position=_if_any(lambda: quality.position_bias(own)),
        gold=quality.gold_by_labeller([*tested, *references]).get(labeller),
        random=False,
    )


def newest_reward_model(store: Store, root: Path, project: str) -> RewardModel | None:
    """The newest finished reward run whose answers came from this store and project."""
    for run in reversed(list_runs(root)):
        mine = run.recipe == "reward" and run.status == "done" and run.config.get("project") == project
        accuracy = run.result.get("accuracy")
        if mine and isinstance(accuracy, dict) and _is_of(run, store):
            return RewardModel(run, accuracy["value"], accuracy["low"], accuracy["high"])
    return None


def _is_of(run: RunRecord, store: Store) -> bool:
    place = store.database.place
    file = Path(place.removeprefix("sqlite:///")).resolve()
    return any(p.kind == "answers" and (run.path_of(p) == file or p.ref == place) for p in run.parents)


def _newest(store: Store, project: str) -> tuple[list[Answer], int]:
    """The newest answers, and how many older ones were left out. References are kept however old."""
    last = store.last_sequence()
    found: list[Answer] = []
    left_out = 0
    for numbered in store.answers(project=project, up_to=last):
        found.append(numbered.answer)
        if len(found) > 2 * MOST:
            kept = found[-MOST:]
            makers = [a for a in found[:-MOST] if a.labeller.kind == "maker"]
            left_out += len(found) - len(kept) - len(makers)
            found = makers + kept
    return found, left_out


def _apart(
    store: Store, project: str, given: Sequence[Answer], everything: Sequence[Answer]
) -> tuple[list[Answer], list[Answer], list[Answer]]:
    """Answers to usual questions, answers to gold questions, and the makers' references to these."""
    gold = {question.id for question in store.questions(project=project, purpose=GOLD)}
    tests = gold | {
        q.id for purpose in TESTS if purpose != GOLD for q in store.questions(project=project, purpose=purpose)
    }
    usual = [a for a in given if a.question not in tests]
    tested = [a for a in given if a.question in gold]
    return usual, tested, [a for a in everything if a.labeller.kind == "maker" and a.question in gold]


def _overall(
    usual: Sequence[Answer], given: Sequence[Answer], tested: Sequence[Answer], references: Sequence[Answer]
) -> Line:
    known = quality.references(references)
    return Line(
        name="",
        kind="",
        pace=quality.pace(given),
        agreement=_if_any(lambda: quality.agreement(usual)),
        ceiling=_if_any(lambda: quality.ceiling(usual)),
        position=_if_any(lambda: quality.position_bias(given)),
        gold=quality.gold(tested, known),
        random=False,
    )


def _groups(
    key: str, usual: Sequence[Answer], given: Sequence[Answer], tested: Sequence[Answer], references: Sequence[Answer]
) -> list[Line]:
    """A line for each value of an attribute; agreement is among the members of the group."""
    known = quality.references(references)
    agreed, ceilings = quality.agreement_by_group(usual, key), quality.ceiling_by_group(usual, key)
    marks = {value: quality.gold(own, known) for value, own in quality.by_group(tested, key).items()}
    return [
        Line(
            name=value,
            kind="",
            pace=quality.pace(own),
            agreement=agreed.get((value, value)),
            ceiling=ceilings.get(value),
            position=_if_any(lambda own=own: quality.position_bias(own)),
            gold=marks.get(value),
            random=False,
        )
        for value, own in quality.by_group(given, key).items()
    ]


def _disputes(store: Store, usual: Sequence[Answer], limit: int) -> list[Dispute]:
    answered: dict[str, list[Answer]] = {}
    for answer in usual:
        answered.setdefault(answer.question, []).append(answer)
    found = (d for d in quality.disputed(usual, limit=limit) if d.disagreement > 0)
    return [
        Dispute(store.question(d.question), d, own, _if_any(lambda own=own: ranked_pairs(own)))
        for d in islice(found, limit)
        for own in [answered[d.question]]
    ]


def _kinds(answers: Iterable[Answer]) -> dict[str, int]:
    found: dict[str, int] = {}
    for answer in answers:
        kind: LabellerKind = answer.labeller.kind
        if kind != "maker":
            found[kind] = found.get(kind, 0) + 1
    return found


def _if_any(measure: Callable[..., T]) -> T | None:
    """The measure, or None where there is nothing to measure."""
    try:
        return measure()
    except DataError:
        return None


def _finite(value: Any) -> float | None:
    return value if value is not None and math.isfinite(value) else None
