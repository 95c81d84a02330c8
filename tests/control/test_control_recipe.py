"""The control recipe in one process: determinism, kill and resume, the hidden reward, people, and what it refuses."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from control_kit import registered
from numpy.typing import NDArray

from backflip.control.agent import PPOSettings
from backflip.control.asking import AskingSettings
from backflip.control.envs import EnvSettings
from backflip.control.predictor import PredictorSettings
from backflip.control.segments import Segment
from backflip.control.teachers import TeacherSettings
from backflip.errors import CheckpointError, ConfigError, DataError
from backflip.feedback.store import Store
from backflip.recipes.control import Config, Result, run
from backflip.records import Answer, Labeller
from backflip.runs import read_metrics

AGENT = PPOSettings(steps=5, epochs=2, minibatch=20, hidden=8, anneal=0.5)


class _LikesTheAction:
    def steps(self, segment: Segment, rewards: NDArray[np.float64] | None) -> NDArray[np.float64]:
        assert rewards is None
        return segment.actions.reshape(len(segment), -1)[:, 0].astype(np.float64)


@pytest.fixture
def point() -> Iterator[str]:
    with registered() as name:
        yield name


def _config(folder: Path, env: str, **changes: Any) -> Config:
    base = Config(
        folder=folder,
        env=EnvSettings(env, count=4, horizon=10),
        agent=AGENT,
        predictor=PredictorSettings(hidden=8),
        asking=AskingSettings(budget=24, until=0.8),
        steps=160,  # 8 rollouts of 20 steps
        stagger=True,
        contenders=2,
        clip=3,
        first_fit=10,
        fit=5,
        checkpoint_every=2,
        episodes=2,
        evaluation_horizon=5,
    )
    return replace(base, **changes)


def _run(config: Config, **more: Any) -> Result:
    return run(config, eye=_LikesTheAction(), **more)


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in read_metrics(folder)]


def _same(result: Result) -> Result:
    return replace(result, cpu_seconds=0.0)


def test_one_seed_is_one_run_and_another_is_another(tmp_path: Path, point: str) -> None:
    first = _run(_config(tmp_path / "a", point))
    again = _run(_config(tmp_path / "b", point))
    other = _run(_config(tmp_path / "c", point, seed=1))
    assert _same(first) == _same(again)
    assert _lines(tmp_path / "a") == _lines(tmp_path / "b")
    assert _lines(tmp_path / "a") != _lines(tmp_path / "c")
    assert first.answers == other.answers == 24
    assert _run(_config(tmp_path / "a", point)) == first  # done: nothing is done again


def _kill(rollout: int) -> None:
    if rollout == 5:  # the last checkpoint is of rollout 4; answers to what was asked at 5 are in the store
        os.kill(os.getpid(), signal.SIGKILL)


def _killed_run(folder: Path) -> None:
    with registered() as env:
        _run(_config(folder, env), after_rollout=_kill)


def test_a_killed_run_goes_on_bit_by_bit(tmp_path: Path, point: str) -> None:
    whole = _run(_config(tmp_path / "whole", point))
    child = multiprocessing.get_context("spawn").Process(target=_killed_run, args=(tmp_path / "killed",))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    with Store.open(tmp_path / "killed" / "feedback.db") as store:
        kept = store.counts("control").answers
    resumed = _run(_config(tmp_path / "killed", point))
    assert _same(resumed) == _same(whole)
    assert _lines(tmp_path / "killed") == _lines(tmp_path / "whole")
    assert 0 < kept <= 24
    with Store.open(tmp_path / "killed" / "feedback.db") as store:
        assert store.counts("control").answers == 24  # none twice


def test_the_true_reward_has_no_way_into_training(tmp_path: Path) -> None:
    results = []
    for name, scale in (("plain", 1.0), ("perturbed", -1000.0)):
        with registered(reward_scale=scale) as env:
            results.append(_run(_config(tmp_path / name, env)))
    assert _lines(tmp_path / "plain") == _lines(tmp_path / "perturbed")
    assert results[0].true_return != results[1].true_return  # the evaluator sees it
    assert results[1].true_return == pytest.approx(-1000 * results[0].true_return)


def test_policies_that_the_true_reward_trained_are_compared_by_it(tmp_path: Path, point: str) -> None:
    teacher = TeacherSettings(goal="reward", mistakes=0.0)
    config = _config(tmp_path / "run", point, reward="teacher_score", teacher=teacher)
    assert run(config).steps == 160  # two contenders: the last step of the run plays both


def test_without_answers_the_agent_explores_and_says_that_it_waits(
    tmp_path: Path, point: str, caplog: pytest.LogCaptureFixture
) -> None:
    result = _run(_config(tmp_path / "run", point, labellers="people"))
    lines = _lines(tmp_path / "run")
    assert result.answers == 0
    assert result.steps == 160
    assert all(line["control/waiting"] == 1 and "agent/policy_loss" not in line for line in lines)
    assert "explores and waits" in caplog.text
    with Store.open(tmp_path / "run" / "feedback.db") as store:
        assert store.counts("control").open == 24  # the questions wait for whoever comes


def _person(folder: Path, *, tiers: str = "shown") -> Any:
    """Answers whatever is open after rollout 2, as another process would through the store."""

    def answer(rollout: int) -> None:
        if rollout != 2:
            return
        somebody = Labeller("somebody", "person")
        with Store.open(folder / "feedback.db") as store:
            while lease := store.lease(somebody, project="control"):
                ids = [c.id for c in lease.question.candidates]
                chosen = () if tiers == "none" else ((ids[0],), (ids[1],))
                store.answer(Answer(lease.question.id, somebody, chosen))

    return answer


def test_people_answer_through_the_store_while_it_runs(tmp_path: Path, point: str) -> None:
    folder = tmp_path / "run"
    _run(_config(folder, point, labellers="people"), after_rollout=_person(folder))
    lines = _lines(folder)
    assert [("control/waiting" in line) for line in lines] == [True] * 2 + [False] * 6
    assert lines[2]["predictor/answers"] > 0
    assert "agent/policy_loss" in lines[-1]


def test_answers_that_all_say_cannot_tell_are_no_answers(tmp_path: Path, point: str) -> None:
    folder = tmp_path / "run"
    _run(_config(folder, point, labellers="people"), after_rollout=_person(folder, tiers="none"))
    assert all(line["control/waiting"] == 1 for line in _lines(folder))


def test_contradictory_answers_alone_do_no_harm(tmp_path: Path, point: str) -> None:
    coin = TeacherSettings(mistakes=0.5)
    result = _run(_config(tmp_path / "run", point, teacher=coin, asking=AskingSettings(budget=60)))
    assert np.isfinite(result.true_return)
    assert _lines(tmp_path / "run")[-1]["predictor/held_out_loss"] > 0.5  # a coin's is 0.69


def test_answers_of_an_earlier_run_are_learned_from(tmp_path: Path, point: str) -> None:
    _run(_config(tmp_path / "first", point))
    silent = AskingSettings(budget=0)
    result = _run(_config(tmp_path / "second", point, asking=silent, answers=(tmp_path / "first",)))
    lines = _lines(tmp_path / "second")
    assert result.answers == 0
    assert lines[0]["predictor/answers"] == 24
    assert "agent/policy_loss" in lines[0]
    with pytest.raises(DataError, match="no answers to reuse"):
        _run(_config(tmp_path / "third", point, answers=(tmp_path / "nothing",)))


@pytest.mark.parametrize("reward", ["teacher_score", "random"])
def test_what_answers_are_compared_with(tmp_path: Path, point: str, reward: Any) -> None:
    result = _run(_config(tmp_path / "run", point, reward=reward))
    assert result.answers == 0
    assert np.isfinite(result.true_return)
    assert not (tmp_path / "run" / "segments").exists()


def test_a_teacher_of_the_true_reward_reads_what_is_sealed(tmp_path: Path, point: str) -> None:
    config = _config(tmp_path / "run", point, teacher=TeacherSettings(goal="reward"))
    run(config)
    assert len(list((tmp_path / "run" / "sealed").iterdir())) == len(list((tmp_path / "run" / "segments").iterdir()))


def test_the_teachers_very_scores_can_be_fitted_to_compare_with(tmp_path: Path, point: str) -> None:
    fitted = PredictorSettings(hidden=8, target="scores")
    result = _run(_config(tmp_path / "a", point, predictor=fitted))
    _run(_config(tmp_path / "b", point))
    assert result.answers == 24
    assert _lines(tmp_path / "a")[0]["predictor/loss"] != _lines(tmp_path / "b")[0]["predictor/loss"]
    with pytest.raises(ConfigError, match=r"predictor\.target"):
        _config(tmp_path / "c", point, predictor=fitted, labellers="people")


def test_other_work_in_the_folder_and_nonsense_are_refused(tmp_path: Path, point: str) -> None:
    _run(_config(tmp_path / "run", point))
    with pytest.raises(CheckpointError, match="other work"):
        _run(_config(tmp_path / "run", point, seed=7))
    with pytest.raises(ConfigError, match="clip"):
        _config(tmp_path / "run", point, clip=6)


@pytest.mark.parametrize(
    "env",
    [
        "Hopper-v5",
        "Walker2d-v5",
        "HalfCheetah-v5",
        "Swimmer-v5",
        "Ant-v5",
        "Humanoid-v5",
        "InvertedPendulum-v5",
        "Reacher-v5",
    ],
)
def test_every_robot_starts_and_learns(tmp_path: Path, env: str) -> None:
    settings = EnvSettings(env, count=2, horizon=10, on_end="restart")
    config = _config(tmp_path / "run", env, teacher=TeacherSettings(goal="reward"))
    result = run(replace(config, env=settings, steps=20))
    assert result.answers == 24
    assert np.isfinite(result.true_return)


@pytest.mark.parametrize("env", ["ALE/Pong-v5", "CartPole-v1"])
def test_discrete_actions_start_and_learn(tmp_path: Path, env: str) -> None:
    settings = EnvSettings(env, count=2, horizon=10, on_end="restart")
    config = _config(tmp_path / "run", env, teacher=TeacherSettings(goal="reward"), first_fit=2, fit=1)
    config = replace(config, env=settings, steps=20, asking=AskingSettings(budget=6, factor=2))
    result = run(replace(config, agent=replace(AGENT, epochs=1, minibatch=10)))
    assert result.answers == 6
    assert np.isfinite(result.true_return)
