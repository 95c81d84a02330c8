"""The loop round after round on a tiny model, with people who answer elsewhere while it waits."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backflip import cli, config, pipeline
from backflip.demo.contents import fill
from backflip.demo.settings import loop_at
from backflip.errors import CheckpointError, ConfigError, LabellingPaused
from backflip.evaluation.contest import Policy
from backflip.feedback.store import Store
from backflip.lm.hub import tiny_model
from backflip.recipes import ppo, reward
from backflip.records import Answer, Labeller
from backflip.runs import find_run, read_run
from backflip.runs.lineage import RunRecord

PROMPTS = 8


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pipeline.Config:
    """One round, as small as can be; we stand in its working folder."""
    monkeypatch.chdir(tmp_path)
    fill(Path("feedback.db"), most=PROMPTS)
    small = loop_at("tiny")
    return replace(
        small,
        model=str(tiny_model(Path("tiny")).folder),
        store="feedback.db",
        folder=Path("loop"),
        ppo=replace(small.ppo, updates=1, judge=ppo.Judge()),
        evaluate=replace(small.evaluate, limit=2, greedy="no", policies=(*small.evaluate.policies[::2],)),
    )


def quiet(_: pipeline.Stage) -> None:
    """Nobody is told."""


def recorded(stage: pipeline.Stage) -> RunRecord:
    found = read_run(stage.folder)
    assert found is not None
    return found


def parents(record: RunRecord, kind: str) -> list[Any]:
    return [parent for parent in record.parents if parent.kind == kind]


# --- rounds


def test_stages_are_numbered_in_their_order(loop: pipeline.Config) -> None:
    found = pipeline.stages(replace(loop, rounds=2))
    assert [(s.number, s.round, s.name) for s in found[:2] + found[5:7] + found[-1:]] == [
        (1, 0, "sft"),
        (2, 1, "sample"),
        (6, 2, "sample"),
        (7, 2, "ask"),
        (10, 0, "evaluate"),
    ]
    assert found[6].folder == Path("loop/round-2/ask")
    assert {s.total for s in found} == {10}


def test_two_rounds_learn_from_all_answers_less_what_was_withdrawn(
    loop: pipeline.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pipeline.run(loop, announce=quiet)
    with Store.open(loop.store) as store:
        asked = store.counts(loop.project).questions
        (taken,) = [n.answer.question for n in store.answers() if n.sequence == 2]
        store.withdraw(2, "the labeller asked us to")
        store.retire([taken])  # else it is asked again, of another labeller
    twice = replace(loop, rounds=2)
    Path("loop/evaluate").rename("loop/evaluate-1")  # another contestant, so another comparison
    said: list[bool] = []
    both = pipeline.run(twice, announce=lambda stage: said.append(stage.done))

    assert both.rounds[0] == first.rounds[0], "what was done stands"
    assert both.sft == first.sft
    assert said == [True] * 5 + [False] * 5
    assert both.rounds[1].sample.asked <= PROMPTS
    with Store.open(loop.store) as store:
        questions = store.counts(loop.project).questions
        assert questions == asked + both.rounds[1].sample.asked, "round 2 asked about its own answers"
        assert store.last_sequence() == questions
    # every question of both rounds has one answer, and one answer was withdrawn
    learned = both.rounds[1].reward
    assert (learned.answers["up_to"], learned.answers["withdrawn"]) == (questions, 1)
    assert learned.answers["answers"] == questions - 1
    assert first.rounds[0].reward.answers["answers"] == asked
    pairs = [r.reward.pairs + r.reward.held_out_pairs for r in both.rounds]
    assert pairs[0] == 6 * asked  # C(4, 2) pairs a question
    assert pairs[1] <= 6 * (questions - 1)
    assert pairs[1] > pairs[0]

    stages = {(s.name, s.round): recorded(s) for s in pipeline.stages(twice)}
    policy = Path(first.rounds[0].ppo.model)
    for name in ("sample", "ppo"):
        (model, *_) = parents(stages[name, 2], "model")
        assert (stages[name, 2].folder / model.ref).resolve() == policy.resolve(), f"{name} goes on from round 1"
    (origin,) = {c.origin for c in last_question(loop)}
    assert find_run(Path("loop"), "loop/round-1/ppo").name in origin


def last_question(loop: pipeline.Config) -> tuple[Any, ...]:
    with Store.open(loop.store) as store:
        return list(store.questions(project=loop.project))[-1].candidates


def test_two_rounds_again_do_nothing(loop: pipeline.Config) -> None:
    twice = replace(loop, rounds=2)
    once = pipeline.run(twice, announce=quiet)
    records = [recorded(stage) for stage in pipeline.stages(twice)]
    said: list[bool] = []
    assert pipeline.run(twice, announce=lambda stage: said.append(stage.done)) == once
    assert said == [True] * 10
    assert [recorded(stage) for stage in pipeline.stages(twice)] == records


def test_a_withdrawal_under_the_last_round_is_not_passed_over(loop: pipeline.Config) -> None:
    pipeline.run(loop, announce=quiet)
    with Store.open(loop.store) as store:
        store.withdraw(1, "a slip")
    with pytest.raises(CheckpointError, match=r"round-1/reward holds a run of other work: .*withdrawn=0.*withdrawn=1"):
        pipeline.run(loop, announce=quiet)


# --- what the loop sets, and what it leaves to the user


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sft.folder", "elsewhere"),
        ("sample.model", "other"),
        ("sample.seed", 3),
        ("ask.labellers", "keyboard"),
        ("reward.up_to", 3),
        ("ppo.prompts", "other"),
        ("ppo.value.start", "other"),
        ("evaluate.against", ["ppo"]),
        ("evaluate.kl_to", "base"),
        ("evaluate.reward", "other"),
        ("evaluate.project", "other"),
    ],
)
def test_what_the_loop_sets_is_refused(loop: pipeline.Config, field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{field} is .*for the loop sets it"):
        config.override(loop, **{field: value})


def test_contestants_and_rewards_are_checked_before_anything_runs(loop: pipeline.Config) -> None:
    base, *others = loop.evaluate.policies
    with pytest.raises(ConfigError, match="wanted a role: base, sft, ppo, ppo-1"):
        replace(loop, evaluate=replace(loop.evaluate, policies=(base, *others, Policy("late", "ppo-2"))))
    with pytest.raises(ConfigError, match="wanted base and sft among the names"):
        replace(loop, evaluate=replace(loop.evaluate, policies=(replace(base, name="start"), *others)))
    with pytest.raises(ConfigError, match=r"ppo.reward is \['python:json:dumps'\]; wanted '-' once"):
        replace(loop, ppo=replace(loop.ppo, reward=(("python:json:dumps", 1.0),)))
    with pytest.raises(ConfigError, match="judge is None"):
        replace(loop, ask=replace(loop.ask, judge=None))


def test_a_reward_of_ones_own_is_added_to_the_reward_model(
    loop: pipeline.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both rounds: "-" stands for the round's own reward model; held-out prompts stay held out."""
    given: list[reward.Config] = []

    def seen(chosen: reward.Config, **_: Any) -> Any:
        given.append(chosen)
        return SimpleNamespace(model=str(chosen.folder / "model"))

    monkeypatch.setattr(pipeline.sample, "run", lambda _: None)
    monkeypatch.setattr(pipeline.ask, "run", lambda *_, **__: SimpleNamespace(snapshot={"up_to": 5}))
    monkeypatch.setattr(pipeline.reward, "run", seen)
    monkeypatch.setattr(pipeline.ppo, "run", lambda chosen: chosen)
    mine = ("python:mine:brief", 0.2)
    both = replace(loop, rounds=2, seed=4, ppo=replace(loop.ppo, reward=(("-", 1.0), mine)))
    rounds = [pipeline.run_round(both, n, start="sft", policy="p", announce=quiet) for n in (1, 2)]
    for number, one in enumerate(rounds, start=1):
        learned = f"loop/round-{number}/reward/model"
        assert one.ppo.reward == ((learned, 1.0), mine)
        assert one.ppo.value == replace(loop.ppo.value, start=Path(learned))
    assert [one.ppo.seed for one in rounds] == [4, 1004]
    assert [chosen.seed for chosen in given] == [4, 4]


# --- people


def answer_all(path: str, project: str, *, most: int | None = None) -> int:
    """What a labelling site does, with a connection of its own: leases and answers, longest text first."""
    ann, given = Labeller("ann", "person"), 0
    with Store.open(path) as store:
        while (most is None or given < most) and (lease := store.lease(ann, project=project)):
            ranked = sorted(lease.question.candidates, key=lambda c: (-len(c.text or ""), c.id))
            answer = Answer(lease.question.id, ann, tuple((c.id,) for c in ranked), shown=tuple(c.id for c in ranked))
            store.answer(answer, key=lease.token)
            given += 1
    return given


def test_people_answer_while_the_loop_waits(loop: pipeline.Config) -> None:
    patient = replace(loop.ask, judge=None, poll_seconds=0.05, patience_seconds=60)
    people = replace(loop, labellers="people", ask=patient)
    given: list[int] = []
    asking = threading.Event()

    def labeller() -> None:
        asking.wait(60)
        given.append(answer_all(loop.store, loop.project))

    thread = threading.Thread(target=labeller)
    thread.start()
    result = pipeline.run(people, announce=lambda stage: asking.set() if stage.name == "ask" else None)
    thread.join(60)
    (one,) = result.rounds
    assert given == [one.sample.asked] == [one.ask.answers]
    assert not one.ask.simulated
    with Store.open(loop.store) as store:
        assert {n.answer.labeller.kind for n in store.answers()} == {"person"}


def test_patience_ends_with_exit_code_3_and_the_same_command_goes_on(
    loop: pipeline.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    impatient = replace(loop.ask, judge=None, poll_seconds=0.01, patience_seconds=0.05)
    people = replace(loop, labellers="people", ask=impatient)
    Path("loop.json").write_text(json.dumps(config.dump(people)), encoding="utf-8")
    words = ["run", "--config", "loop.json"]
    assert cli.main(words) == LabellingPaused.exit_code == 3
    said = capsys.readouterr().err
    assert "answers to 8 questions are still wanted" in said
    assert "then start the same command again" in said
    assert answer_all(loop.store, loop.project, most=3) == 3
    assert cli.main(words) == 3
    assert "5 answers to 8 questions are still wanted" in capsys.readouterr().err
    assert answer_all(loop.store, loop.project) == 5
    assert cli.main(words) == 0
    shown, notes = capsys.readouterr()
    assert "all of it lies in loop" in shown
    assert "1/6 sft, in loop/sft, done before" in notes
    assert "6/6 evaluate, in loop/evaluate\n" in notes
