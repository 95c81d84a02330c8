"""Asking: simulated labellers, a keyboard, and people who take their time."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from backflip.errors import ConfigError, DataError, LabellingPaused
from backflip.feedback.store import Store
from backflip.lm.rewards import PythonReward, Rewards
from backflip.recipes import ask
from backflip.records import Answer, Candidate, Labeller, Prompt, Question
from backflip.runs import read_run

TOPICS = ("rain", "snow", "bees", "bread", "sleep", "trees")
JUDGE = PythonReward(lambda _prompt, text, _ended: float(len(text)))


def question(topic: str, purpose: str = "train") -> Question:
    texts = (topic, f"{topic} is", f"{topic} is good")
    return Question("text", tuple(Candidate(text=t) for t in texts), Prompt.ask(f"What is {topic}?"), purpose=purpose)


@pytest.fixture
def ask_store(tmp_path: Path) -> str:
    path = str(tmp_path / "feedback.db")
    with Store.open(path) as store:
        store.add_questions([question("other", "evaluate"), *map(question, TOPICS)])
    return path


@pytest.fixture
def configure(tmp_path: Path, ask_store: str) -> Callable[..., ask.Config]:
    def make(folder: str = "ask", **changes: Any) -> ask.Config:
        return ask.Config(**({"folder": tmp_path / folder, "store": ask_store, "judge": "python:m:f"} | changes))

    return make


class Killed(Exception):
    pass


class KilledAfter:
    """A judge that dies after so many questions."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    def scores(self, prompts: Any, answers: Any, ended: Any = None) -> list[list[float]]:
        self.left -= 1
        if self.left < 0:
            raise Killed
        return JUDGE.scores(prompts, answers, ended)


def rankings(store: str) -> list[tuple[str, str, Sequence[Sequence[str]]]]:
    with Store.open(store) as opened:
        return [(a.question, a.labeller.id, a.tiers) for _, a in opened.answers()]


def test_simulated_labellers_rank_by_the_judge_and_are_called_simulated(
    configure: Callable[..., ask.Config], ask_store: str
) -> None:
    result = ask.run(configure(), judge=JUDGE)
    assert (result.questions, result.answers, result.simulated) == (6, 6, True)
    assert "simulated" in str(result)
    with Store.open(ask_store) as store:
        for _, answer in store.answers():
            texts = {c.id: c.text for c in store.question(answer.question).candidates}
            assert [len(str(texts[c])) for (c,) in answer.tiers] == sorted(map(len, map(str, texts.values())))[::-1]
            assert (answer.labeller.kind, answer.source) == ("simulated", "simulated")
        assert store.counts(purpose="evaluate").wanted == 1  # questions of another purpose wait
    assert ask.run(configure(), judge=KilledAfter(0)) == result  # it is done


@pytest.mark.parametrize("count", [1, 2])
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    tmp_path: Path, configure: Callable[..., ask.Config], ask_store: str, count: int
) -> None:
    other = str(tmp_path / "other.db")
    with Store.open(other) as store:
        store.add_questions([question("other", "evaluate"), *map(question, TOPICS)])
    noise = {"temperature": 5.0, "mistakes": 0.3, "count": count}
    ask.run(configure("whole", store=other, **noise), judge=JUDGE)
    with pytest.raises(Killed):
        ask.run(configure(**noise), judge=KilledAfter(3))
    assert len(rankings(ask_store)) == 3
    ask.run(configure(**noise), judge=JUDGE)
    assert rankings(ask_store) == rankings(other)
    assert {who for _, who, _ in rankings(other)} == {f"simulated-{i + 1}" for i in range(count)}


def test_overlap_needs_as_many_labellers(configure: Callable[..., ask.Config], ask_store: str) -> None:
    with pytest.raises(LabellingPaused, match="6 answers are still wanted"):
        ask.run(configure(wanted=2), judge=JUDGE)
    assert ask.run(configure("two", wanted=2, count=2), judge=JUDGE).answers == 12


def test_the_keyboard(configure: Callable[..., ask.Config], tmp_path: Path) -> None:
    config = configure(labellers="keyboard", judge=None, name="ann")

    def typing(*lines: str) -> dict[str, Any]:
        rest = iter([*lines, "q"])
        return {"console": Console(file=io.StringIO()), "read": lambda _: next(rest)}

    with pytest.raises(LabellingPaused):
        ask.run(config, **typing("abc", "cba"))
    record = read_run(config.folder)
    assert record is not None
    assert record.status == "interrupted"
    result = ask.run(config, **typing(*["abc"] * 4))
    assert (result.answers, result.simulated) == (6, False)


def test_people_are_waited_for(configure: Callable[..., ask.Config], ask_store: str) -> None:
    def someone_answers(_: float) -> None:
        with Store.open(ask_store) as store:
            lease = store.lease(Labeller("ann", "person"), purpose="train")
            assert lease is not None
            order = tuple((c.id,) for c in lease.question.candidates)
            store.answer(Answer(lease.question.id, Labeller("ann", "person"), order))

    result = ask.run(configure(labellers="people", patience_seconds=60), sleep=someone_answers)
    assert result.answers == 6


def test_patience_ends(configure: Callable[..., ask.Config]) -> None:
    slept: list[float] = []
    config = configure(labellers="people", patience_seconds=12, poll_seconds=5)
    with pytest.raises(LabellingPaused, match="6 answers to 6 questions are still wanted after 12 s"):
        ask.run(config, sleep=slept.append)
    assert slept == [5, 5, 2]


def test_people_may_have_answered_enough(configure: Callable[..., ask.Config], ask_store: str) -> None:
    """It says where to go, waits for four answers, and goes on with them; questions may come in meanwhile."""
    rounds: list[float] = []

    def someone_answers(pause: float) -> None:
        rounds.append(pause)
        with Store.open(ask_store) as store:
            store.add_questions([question(f"a question of round {len(rounds)}")])
            lease = store.lease(Labeller("ann", "person"), purpose="train")
            assert lease is not None
            store.answer(Answer(lease.question.id, Labeller("ann", "person"), ()))
            if len(rounds) == 2:
                raise KeyboardInterrupt

    config, out = configure(labellers="people", enough=4), io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        ask.run(config, sleep=someone_answers)
    result = ask.run(config, sleep=someone_answers, console=Console(file=out))
    assert "waiting for 2 answers to the questions of project 'default'" in out.getvalue()
    assert f"backflip studio --store {ask_store}" in out.getvalue().replace("\n", "")
    assert (result.answers, result.snapshot["up_to"], len(rounds)) == (4, 4, 4)
    assert ask.run(config) == result


def test_a_reward_model_or_function_may_be_the_judge(configure: Callable[..., ask.Config]) -> None:
    with pytest.raises(ConfigError, match="cannot be imported"):
        ask.run(configure(judge="python:nowhere:judge"))


def test_what_cannot_be_asked_is_refused(configure: Callable[..., ask.Config]) -> None:
    with pytest.raises(DataError, match="no question of purpose 'nothing'"):
        ask.run(configure(purpose="nothing"))
    for field, value in {
        "judge": None,
        "count": 0,
        "mistakes": 2.0,
        "poll_seconds": 0,
        "wanted": -1,
        "enough": -1,
    }.items():
        with pytest.raises(ConfigError, match=field):
            configure(**{field: value})


def test_a_clip_is_no_text(configure: Callable[..., ask.Config], ask_store: str) -> None:
    clips = Question("clip", (Candidate(media="a"), Candidate(media="b")), purpose="clips")
    with Store.open(ask_store) as store:
        store.add_questions([clips])
    judge: Rewards = JUDGE
    with pytest.raises(DataError, match="shows clips"):
        ask.run(configure(purpose="clips"), judge=judge)


@pytest.mark.parametrize("recipe", ["ask", "evaluate"])
def test_several_ranks_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], recipe: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"backflip.recipes.{recipe}").main()
    assert end.value.code == ConfigError.exit_code
    assert capsys.readouterr().err.startswith("WORLD_SIZE is 2; wanted 1: this recipe is one process")


def test_the_judge_of_simulated_labellers_is_a_parent(configure: Callable[..., ask.Config]) -> None:
    ask.run(configure(judge="python:my.module:judge"), judge=JUDGE)
    found = read_run(configure().folder)
    assert found is not None
    assert [(parent.kind, parent.ref) for parent in found.parents][1:] == [("data", "python:my.module:judge")]
