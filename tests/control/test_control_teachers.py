"""Simulated teachers: what they see of a clip, and B-Pref's six ways to err; when and what is asked."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from backflip.control.asking import AskingSettings, choose_pairs, due, random_pairs
from backflip.control.flips import TURN
from backflip.control.rewards import hand_written
from backflip.control.segments import Segment, media_key
from backflip.control.teachers import B_PREF, Teacher, TeacherSettings, TrueReward, backflip_steps
from backflip.errors import ConfigError, DataError
from backflip.records import Answer, Candidate, Question


def _clip(rewards: list[float], *, mark: float = 0.0) -> tuple[Segment, NDArray[np.float64]]:
    steps = len(rewards)
    seen = np.full((steps, 2), mark, dtype=np.float32)
    return Segment("Point", seen, np.zeros((steps, 1), np.float32), None), np.array(rewards)


def _asked(*clips: tuple[Segment, Any]) -> tuple[Question, dict[str, tuple[Segment, Any]]]:
    candidates = [Candidate(media=media_key(segment)) for segment, _ in clips]
    return Question("clip", tuple(candidates), None), {c.id: clip for c, clip in zip(candidates, clips, strict=True)}


def _answers(kind: str, good: list[float], bad: list[float], *, times: int = 1) -> list[Answer]:
    teacher = Teacher(TeacherSettings(goal="reward", **B_PREF[kind]), seed=0)  # type: ignore[arg-type]
    asked = [_asked(_clip(good, mark=2 * i + 1), _clip(bad, mark=2 * i + 2)) for i in range(times)]
    return teacher.answer(asked)


def _right(answers: list[Answer], good: list[float], bad: list[float]) -> float:
    right = 0
    for i, answer in enumerate(answers):
        best = Candidate(media=media_key(_clip(good, mark=2 * i + 1)[0])).id
        right += answer.tiers[0] == (best,)
    return right / len(answers)


def test_the_oracle_is_right_and_the_mistaken_in_nine_of_ten() -> None:
    good, bad = [1.0, 1.0], [1.0, 0.9]
    assert _right(_answers("oracle", good, bad, times=50), good, bad) == 1
    # 0.9 of 400 is 360, with a deviation of 6.
    assert _right(_answers("mistake", good, bad, times=400), good, bad) == pytest.approx(0.9, abs=0.05)


def test_the_stochastic_one_chooses_by_bradley_terry() -> None:
    good, bad = [1.0, 0.0], [0.0, 0.0]
    # sigmoid(1) = 0.731; of 400 answers the deviation is 0.022.
    found = _right(_answers("stochastic", good, bad, times=400), good, bad)
    assert found == pytest.approx(1 / (1 + math.exp(-1)), abs=0.07)


def test_the_myopic_one_forgets_the_beginning() -> None:
    early, late = [2.0] + [0.0] * 9, [0.0] * 9 + [1.0]
    assert _right(_answers("oracle", early, late), early, late) == 1
    assert _right(_answers("myopic", early, late), early, late) == 0  # 2 * 0.9^9 = 0.77 < 1


def test_skip_and_equal_follow_what_clips_score_now() -> None:
    # The mean score is 10.5, so a tenth is 1.05: scores of 10 and 11 are tied; neither is below the threshold.
    assert [len(a.tiers) for a in _answers("equal", [11.0], [10.0])] == [1]
    assert [len(a.tiers) for a in _answers("skip", [11.0], [10.0])] == [2]
    # With a good pair beside it (mean 25.075), 0.1 and 0.2 are below a tenth of the mean: that one is skipped.
    teacher = Teacher(TeacherSettings(goal="reward", **B_PREF["skip"]), seed=0)  # type: ignore[arg-type]
    pairs = [_asked(_clip([50.0]), _clip([50.0], mark=1)), _asked(_clip([0.1], mark=2), _clip([0.2], mark=3))]
    assert [a.cannot_tell for a in teacher.answer(pairs)] == [False, True]


def test_a_difference_that_nobody_sees_is_a_tie() -> None:
    teacher = Teacher(TeacherSettings(goal="reward", mistakes=0.0, margin=1.5), seed=0)
    near, far = _asked(_clip([2.0]), _clip([1.0], mark=1)), _asked(_clip([3.0], mark=2), _clip([1.0], mark=3))
    assert [len(a.tiers) for a in teacher.answer([near, far])] == [1, 2]


def test_what_a_turn_is_worth() -> None:
    poses = np.zeros((3, 6))
    poses[:, 1], poses[:, 2] = 3.0, [0, -TURN / 10, 0]
    # A tenth of a turn backwards in the air is 2; forwards again takes it away.
    np.testing.assert_allclose(backflip_steps(poses, penalty=0.5), [2, -2])
    poses[:, 1] = 0.1  # the torso lies on the floor: turning backwards is worth nothing, and lying costs
    np.testing.assert_allclose(backflip_steps(poses, penalty=0.5), [-0.5, -2.5])
    np.testing.assert_allclose(backflip_steps(poses, penalty=0.5, roll=0.3), [0.1, -2.5])
    standing = np.zeros((3, 6))
    standing[:, 1], standing[:, 2] = 1.2, [0, -TURN / 100, -2 * TURN / 100]
    np.testing.assert_allclose(backflip_steps(standing, penalty=0.5), [0.06, 0.06], rtol=1e-6)  # on the foot: 0.3 of it


def test_two_halves_are_worth_less_than_a_whole() -> None:
    poses = np.zeros((5, 6))
    poses[:, 1], poses[:, 2] = 3.0, [0, -TURN / 2, -TURN, -1.5 * TURN, -TURN]
    # Squares of 0, 0.5, 1 turns, and the next turn's: 0.25, 0.75, 0.25; half a turn forwards takes the last away.
    np.testing.assert_allclose(backflip_steps(poses, penalty=0.0, power=2.0), [5, 15, 5, -5], atol=1e-9)
    poses[2, 1] = 0.1  # the body touches the floor after the second half of the first turn: the count begins anew
    np.testing.assert_allclose(backflip_steps(poses, penalty=0.0, power=2.0), [5, 0, 5, -5], atol=1e-9)
    poses[:, 2] = [0, TURN / 4, 0, TURN / 4, 0]  # forwards and back again is worth nothing
    np.testing.assert_allclose(backflip_steps(poses[:2], penalty=0.0, power=2.0), [-5], atol=1e-9)
    with pytest.raises(ConfigError, match="power"):
        TeacherSettings(power=0.5)


def test_the_teacher_becomes_strict() -> None:
    poses = np.zeros((2, 6))
    poses[:, 1] = 0.1
    lying = (Segment("Hopper-v5", np.zeros((1, 11), np.float32), np.zeros((1, 3), np.float32), poses), None)
    poses = np.zeros((2, 6))
    poses[:, 1], poses[:, 2] = 3.0, [0, -TURN / 10]
    turning = (Segment("Hopper-v5", np.ones((1, 11), np.float32), np.zeros((1, 3), np.float32), poses), None)
    teacher = Teacher(TeacherSettings(penalty=0.05, strict=0.3, strict_above=0.3), seed=0)
    assert teacher.score(*lying) == pytest.approx(-0.05)
    for answers in range(1, 20):  # the mean of 2 and -0.05 is 0.975; 0.975 (1 - (19 / 20)^n) >= 0.3 from 8 clips on
        teacher.answer([_asked(lying, turning)])
        assert teacher.strict == (answers >= 4)
    assert teacher.score(*lying) == pytest.approx(-0.3)
    other = Teacher(TeacherSettings(penalty=0.05, strict=0.3, strict_above=0.3), seed=0)
    other.restore(teacher.state())
    assert other.score(*lying) == pytest.approx(-0.3)


def test_a_teacher_says_what_it_cannot_see() -> None:
    clip = _clip([1.0])
    with pytest.raises(DataError, match="does not show a Hopper"):
        Teacher(TeacherSettings(), seed=0).score(clip[0])
    with pytest.raises(DataError, match="no sealed reward"):
        TrueReward().steps(clip[0], None)
    with pytest.raises(ConfigError, match="mistakes"):
        TeacherSettings(mistakes=2.0)


def test_the_hand_written_reward_by_hand() -> None:
    seen, acted = np.zeros((1, 11)), np.array([[1.0, 0.0, -3.0]])  # the last is cut to -1
    seen[0, [0, 5, 7, 8, 10]] = [1.2, -2.0, -4.0, 3.0, 1.0]
    # backroll 4; 1 + 0.3 * 1.2 + 0.1 * (1 * 3 - 1 * 1) + 0.05 * 2 = 1.66
    np.testing.assert_allclose(hand_written(seen, acted), [4 * 1.66])


def test_answers_fall_due_at_a_falling_rate() -> None:
    asking = AskingSettings(budget=100, first_share=0.25, anneal=1e5)
    found = [due(asking, step=step, steps=1_000_000) for step in range(0, 1_000_001, 100_000)]
    assert found[0] == 25
    assert found[-1] == 100
    gains = np.diff(found)
    # The integral of 1 / (1 + T / 1e5) is a logarithm: 75 * log(2) / log(11) = 21.7 of them in the first tenth.
    assert found[1] == 25 + 21
    assert (np.diff(gains[:-1]) <= 1).all()
    assert gains[0] > 3 * gains[-1]


def test_all_may_be_asked_before_the_end() -> None:
    asking = AskingSettings(budget=100, anneal=1e5, until=0.5)
    whole = AskingSettings(budget=100, anneal=1e5)
    found = [due(asking, step=step, steps=1_000_000) for step in (0, 100_000, 499_999, 500_000, 900_000)]
    assert found == [25, due(whole, step=100_000, steps=500_000), 99, 100, 100]
    with pytest.raises(ConfigError, match="until"):
        AskingSettings(until=0.0)


def test_pairs_are_of_two_clips_and_asked_once() -> None:
    pairs = random_pairs(5, 100, np.random.default_rng(0))
    assert sorted(pairs) == [(i, j) for i in range(5) for j in range(i + 1, 5)]


def test_the_pairs_that_members_disagree_on_are_asked() -> None:
    sums = torch.tensor([[0.0, 0.0, 5.0, 1.0], [0.0, 0.0, -5.0, 1.0]])  # they disagree about the third clip alone
    chosen = choose_pairs(sums, [(0, 1), (0, 2), (0, 3)], count=1, method="disagreement", seed=0, lapse=0.1)
    assert chosen == [(0, 2)]


def test_settings_of_teachers_are_refused_by_name() -> None:
    for name, value in (("beta", -1.0), ("gamma", 0.0), ("penalty", -0.1), ("margin", -1.0)):
        with pytest.raises(ConfigError, match=name):
            replace(TeacherSettings(), **{name: value})  # type: ignore[arg-type]
