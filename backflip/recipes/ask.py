"""The questions of a store get their answers: from simulated labellers, from a person here, or from people elsewhere.

    python -m backflip.recipes.ask --store feedback.db --labellers keyboard --folder runs/ask

What is answered stays answered, whatever ends the command: the same one goes on with the rest. Simulated labellers
lease and answer as anybody does, and are called simulated in every record.
"""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from backflip.config import NOT_FINGERPRINTED, require
from backflip.errors import DataError, LabellingPaused
from backflip.feedback.keyboard import Keyboard
from backflip.feedback.oracle import SimulatedLabeller
from backflip.feedback.store import Counts, Store
from backflip.lm.parents import parent_of
from backflip.recipes.command import command
from backflip.records import Labeller, Question, content_id
from backflip.runs import Parent, open_run, progress, read_run
from backflip.runs.progress import Step

if TYPE_CHECKING:
    from backflip.lm.rewards import Rewards

__all__ = ["Config", "Result", "main", "run"]


@dataclass(frozen=True)
class Config:
    """Brings in the answers to a store's open questions."""

    folder: Path = field(metadata=NOT_FINGERPRINTED)
    """The run's folder; the answers themselves go into the store."""
    store: str = field(metadata=NOT_FINGERPRINTED)
    """The feedback store, a path or URL."""
    project: str = "default"
    """The store's project."""
    purpose: str = "train"
    """Only questions of this purpose."""
    labellers: Literal["simulated", "keyboard", "people"] = "simulated"
    """`simulated`: a judge answers; `keyboard`: you do, here; `people`: waits for answers given elsewhere."""
    wanted: int = 0
    """How many answers each question shall have at least; 0: as the store has it."""
    judge: str | None = None
    """Simulated: what the labellers go by, `python:package.module:function` or a reward model's folder."""
    count: int = 1
    """Simulated: how many labellers take turns (simulated-1, simulated-2, ..)."""
    temperature: float = 0.0
    """Simulated: noise of choice, P(better) = sigmoid(difference / temperature); 0 follows the judge."""
    tie_margin: float = 0.0
    """Simulated: texts that seem no further apart than this are tied."""
    mistakes: float = 0.0
    """Simulated: the share of answers that are turned round."""
    name: str = "keyboard"
    """Keyboard: who you are in the store."""
    patience_seconds: float = field(default=0.0, metadata=NOT_FINGERPRINTED)
    """People: pause after so long; 0 waits for ever."""
    poll_seconds: float = field(default=5.0, metadata=NOT_FINGERPRINTED)
    """People: how often to look."""
    enough: int = field(default=0, metadata=NOT_FINGERPRINTED)
    """People: go on as soon as there are so many answers; 0: when every question has those that it wants."""
    seed: int = 0
    """Of the simulated labellers' faults and of the order in which the keyboard shows candidates."""

    def __post_init__(self) -> None:
        judged = self.labellers != "simulated" or self.judge is not None
        require(judged, "judge", seen=self.judge, wanted="what simulated labellers go by (a spec or folder)")
        require(self.count >= 1, "count", seen=self.count, wanted="1 or more")
        require(self.wanted >= 0, "wanted", seen=self.wanted, wanted="0 (as the store has it) or more")
        require(self.patience_seconds >= 0, "patience_seconds", seen=self.patience_seconds, wanted="0 or more")
        require(self.poll_seconds > 0, "poll_seconds", seen=self.poll_seconds, wanted="above 0")
        require(self.enough >= 0, "enough", seen=self.enough, wanted="0 (all that is wanted) or more answers")
        require(bool(self.name), "name", seen=self.name, wanted="a labeller's id")
        self.oracles()  # which refuse shares and temperatures out of range

    def oracles(self) -> tuple[SimulatedLabeller, ...]:
        """The simulated labellers."""
        return tuple(
            SimulatedLabeller(
                self.seed,
                f"simulated-{i + 1}",
                temperature=self.temperature,
                tie_margin=self.tie_margin,
                mistakes=self.mistakes,
            )
            for i in range(self.count)
        )


@dataclass(frozen=True)
class Result:
    """What the store holds for this project and purpose now; `snapshot` pins it."""

    questions: int
    answers: int
    simulated: bool
    snapshot: Mapping[str, Any]

    def __str__(self) -> str:
        by = "simulated labellers" if self.simulated else "people"
        last = self.snapshot["up_to"]
        return f"{self.answers} answers to {self.questions} questions, asked of {by}; the last is number {last}"


def run(
    config: Config,
    *,
    judge: Rewards | None = None,
    console: Console | None = None,
    read: Callable[[str], str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    as_begun: bool = False,
) -> Result:
    """Sees to it that every question of the project and purpose has the answers it wants.

    `judge` replaces what the configuration names; `console` and `read` are the keyboard's. In a folder that was begun,
    questions that arrived since are refused as other work, or with `as_begun` left to other runs; where people answer
    in the studio, questions may come in at any time, and the folder stays as it was begun.
    Raises DataError where there is no question, LabellingPaused where answers are still wanted at the end.
    """
    with Store.existing(config.store) as store:
        questions = list(store.questions(project=config.project, purpose=config.purpose))
        as_begun = as_begun or config.labellers == "people"
        parents = [_parent(config, questions[: _begun_with(config) if as_begun else None])]
        parents += [parent_of(config.judge)] if config.judge and config.labellers == "simulated" else []
        with open_run(config.folder, recipe="ask", config=config, seed=config.seed, parents=parents) as run:
            if run.done:
                return Result(**run.result)
            if config.wanted:
                store.add_questions(questions, overlap=config.wanted, project=config.project)
            if config.labellers == "simulated":
                _simulate(config, store, judge or _judge(config))
            elif config.labellers == "keyboard":
                _type(config, store, console, read)
            else:
                _wait(config, store, sleep, console or Console(stderr=True))
            result = _result(config, store)
            run.finish(vars(result))
            return result


def _begun_with(config: Config) -> int | None:
    """How many questions there were when the run began; they are the first, for the store keeps their order."""
    earlier = read_run(config.folder)
    parents = earlier.parents if earlier else ()
    return next((int(p.detail["questions"]) for p in parents if "questions" in p.detail), None)


def _parent(config: Config, questions: list[Question]) -> Parent:
    if not questions:
        raise DataError(
            f"project {config.project!r} in {config.store} has no question of purpose {config.purpose!r}; sample some "
            "first (`backflip sample --ask`), or name another project or purpose"
        )
    digest = content_id("questions", sorted(question.id for question in questions))
    named = f"{config.store}#{config.project}/{config.purpose}"
    return Parent("data", named, {"sha256": digest, "questions": len(questions)})


def _judge(config: Config) -> Rewards:
    from backflip.lm.rewards import load_reward  # torch: a person at the keyboard does without
    from backflip.runs.ranks import world

    return load_reward(str(config.judge), device=str(world().device))


def _simulate(config: Config, store: Store, judge: Rewards) -> None:
    with _progress(config, store) as step:
        for oracle, question in _turns(config, store):
            _answer(store, oracle, question, judge)
            step()


def _progress(config: Config, store: Store) -> AbstractContextManager[Step]:
    before = store.counts(config.project, purpose=config.purpose)
    total = before.answers + _missing(config, before)
    return progress(total, f"answers ({config.labellers})", done=before.answers)


def _missing(config: Config, counts: Counts) -> int:
    """How many answers are still waited for."""
    return min(counts.wanted, max(config.enough - counts.answers, 0)) if config.enough else counts.wanted


def _turns(config: Config, store: Store) -> Iterator[tuple[SimulatedLabeller, Question]]:
    """The labellers take turns, one question each, until there is none left that any of them may answer.

    Whose turn it is follows from the number of answers, so that a killed run goes on as if nothing had been.
    """
    oracles = config.oracles()
    for oracle in oracles:  # what a killed run held
        held = store.held(oracle.name, project=config.project)
        yield from ((oracle, lease.question) for lease in held if lease.question.purpose == config.purpose)
    first = store.counts(config.project, purpose=config.purpose).answers
    for turn in count(first % len(oracles)):
        order = (oracles[(turn + i) % len(oracles)] for i in range(len(oracles)))
        leased = ((o, store.lease(o.labeller, project=config.project, purpose=config.purpose)) for o in order)
        found = next(((oracle, lease.question) for oracle, lease in leased if lease), None)
        if found is None:
            return
        yield found


def _answer(store: Store, oracle: SimulatedLabeller, question: Question, judge: Rewards) -> None:
    if question.prompt is None or any(c.text is None for c in question.candidates):
        raise DataError(f"question {question.id[:12]} shows clips; wanted texts: a judge of texts cannot see them")
    texts = [str(c.text) for c in question.candidates]
    scores = judge.scores([question.prompt], [texts], [[c.ended for c in question.candidates]])[0]
    answer = oracle.answer(question, {c.id: s for c, s in zip(question.candidates, scores, strict=True)})
    store.answer(answer, key=question.id)


def _type(config: Config, store: Store, console: Console | None, read: Callable[[str], str] | None) -> None:
    Keyboard(
        store,
        Labeller(config.name, "person"),
        project=config.project,
        purpose=config.purpose,
        seed=config.seed,
        console=console or Console(),
        read=read,
    ).work()


def _wait(config: Config, store: Store, sleep: Callable[[float], None], console: Console) -> None:
    """Looks into the store until enough is answered. Raises LabellingPaused when patience ends."""
    seen, left = store.counts(config.project, purpose=config.purpose), config.patience_seconds or math.inf
    if _missing(config, seen):
        console.print(_invitation(config, seen), markup=False, highlight=False, soft_wrap=True)
    with _progress(config, store) as step:
        while missing := _missing(config, seen):
            if left <= 0:
                raise LabellingPaused(
                    f"{missing} answers to {seen.questions} questions are still wanted after "
                    f"{config.patience_seconds:.0f} s; have people answer them, then start the same command again"
                )
            pause = min(config.poll_seconds, left)
            sleep(pause)
            left -= pause
            now = store.counts(config.project, purpose=config.purpose)
            step(now.answers - seen.answers, note=f"{_missing(config, now)} still wanted")
            seen = now


def _invitation(config: Config, counts: Counts) -> str:
    """What people do now, and where."""
    where = f"backflip studio --store {shlex.quote(config.store)}"
    missing = _missing(config, counts)
    return (
        f"waiting for {missing} answer{'s' * (missing != 1)} to the questions of project {config.project!r}: open the "
        f"labelling page with `{where}`; this goes on by itself when they are there, and Ctrl-C loses nothing"
    )


def _result(config: Config, store: Store) -> Result:
    counts = store.counts(config.project, purpose=config.purpose)
    if _missing(config, counts):
        raise LabellingPaused(
            f"{counts.wanted} answers are still wanted, and these labellers have dealt with all that they may; skipped "
            "and withdrawn questions, and those that want several answers, need others: give them more labellers "
            "(--count, --name), or let people answer, in a folder of their own"
        )
    snapshot = asdict(store.snapshot(project=config.project, purpose=config.purpose))
    return Result(counts.questions, snapshot["answers"], config.labellers == "simulated", snapshot)


def main() -> None:
    """`python -m backflip.recipes.ask`."""
    command(Config, run, description=__doc__, alone=True)


if __name__ == "__main__":
    main()
