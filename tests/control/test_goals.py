"""Goals without a reward: what poses show is what MuJoCo says, and scores and measures are done by hand."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from backflip.control.envs import EnvSettings
from backflip.control.evaluator import evaluate
from backflip.control.goals import GOALS, GoalEye
from backflip.control.planar import figure, limb_ends
from backflip.control.segments import Segment
from backflip.control.teachers import Teacher, TeacherSettings
from backflip.errors import DataError

STANDING = np.array([0, -0.13, 0, 0, 0, 0, 0, 0, 0.0])  # both feet on the floor
# Straight up on the hind foot: the trunk turned up by a right angle, the hind leg as it is drawn below it.
REARING = np.array([0, 0.62, -math.pi / 2, 1.0, 0, 0, 0, 0, 0.0])


def _poses(*rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack(rows)


def _lowest(pose: NDArray[np.float64], limb: int) -> float:
    model = figure("half_cheetah")
    return float(limb_ends(model, pose[None])[0, limb, :, 1].min() - model.limbs[limb]["radius"])


def _on_hind_foot(pose: NDArray[np.float64], x: float = 0.0) -> NDArray[np.float64]:
    """The same, let down until the hind foot just touches."""
    placed = pose.copy()
    placed[0] = x
    placed[1] -= _lowest(pose, 4) + 1e-6
    return placed


def test_touches_are_those_of_mujoco() -> None:
    plain: Any = gymnasium.make("HalfCheetah-v5").unwrapped
    import mujoco

    names = [plain.model.geom(i).name for i in range(plain.model.ngeom)]
    draw = np.random.default_rng(0)
    plain.reset(seed=1)
    poses, touched = [plain.data.qpos.copy()], []
    for _ in range(300):
        plain.step(draw.uniform(-1, 1, 6))
        mujoco.mj_forward(plain.model, plain.data)
        at = {names[g] for c in range(plain.data.ncon) for g in plain.data.contact[c].geom}
        poses.append(plain.data.qpos.copy())
        touched.append("bfoot" in at)
    plain.close()
    figures = GOALS["one_leg"].measure(np.stack(poses))
    assert figures["hind_foot_share"] == pytest.approx(np.mean(touched), abs=0.005)
    assert 0.05 < figures["hind_foot_share"] < 0.95


def test_one_leg_pays_the_way_on_the_hind_leg_alone() -> None:
    a, b = _on_hind_foot(REARING), _on_hind_foot(REARING, 0.2)
    goal = GOALS["one_leg"]
    np.testing.assert_allclose(goal.steps(_poses(a, b, a)), [2, -2])  # 10 a metre, there and back
    fallen = STANDING.copy()
    fallen[0] = 0.5
    np.testing.assert_allclose(goal.steps(_poses(a, fallen)), [-1])  # the front foot touches: no pay for the way
    figures = goal.measured(_poses(a, b, fallen)[None])
    assert figures["one_legged_metres"] == pytest.approx(0.2)
    assert figures["one_legged_share"] == 0.5
    assert figures["metres"] == pytest.approx(0.5)


def test_rear_pays_for_height_on_the_hind_foot_and_not_for_walking() -> None:
    up, off = _on_hind_foot(REARING), _on_hind_foot(REARING, 0.1)
    goal = GOALS["rear"]
    still, walked = goal.steps(_poses(up, up, off))
    assert 1.2 < still <= 1.6
    assert walked == pytest.approx(still - 0.5)
    assert goal.steps(_poses(STANDING, STANDING))[0] == 0  # on all fours
    figures = goal.measured(_poses(STANDING, up, up, STANDING, up)[None])
    assert figures["upright_share"] == 0.75
    assert figures["longest_stand"] == 2
    assert figures["strayed_metres"] == 0


def _picture(*cars: int, row: int = 57, wide: int = 9) -> NDArray[np.uint8]:
    """A grey road with its edges, and cars whose left ends stand in these columns."""
    picture = np.full((84, 84), 40, dtype=np.uint8)
    picture[:, 5:8], picture[:, 70:72] = 130, 150
    for column in cars:
        picture[row : row + 4, column : column + wide] = 110
    return picture


def test_level_is_a_second_car_in_the_rows_of_ones_own() -> None:
    pictures = np.stack(
        [_picture(40), _picture(40, 55), _picture(40) | _picture(60, row=44), _picture(10, 61), _picture()]
    )
    assert GOALS["level"].steps(pictures).tolist() == [0, 1, 0, 1, 0]
    figures = GOALS["level"].measured(pictures[None, [1, 1, 0, 3]])
    assert figures == {"level_share": 0.75, "longest_level": 2}
    stacks = np.repeat(pictures[:, None], 4, axis=1)
    clip = Segment("ALE/Enduro-v5", stacks, np.zeros(5, dtype=np.int64), None)
    assert Teacher(TeacherSettings(goal="level", mistakes=0.0), seed=0).score(clip) == 2


def test_a_car_that_is_overtaken_in_enduro_is_level_for_a_while() -> None:
    played = evaluate(
        lambda seen: np.ones(len(seen), dtype=np.int64),  # full speed ahead
        EnvSettings("ALE/Enduro-v5"),
        episodes=2,
        horizon=150,
        pictures=True,
    )
    assert played.pictures is not None
    assert played.pictures.shape == (2, 150, 84, 84)
    share = GOALS["level"].measured(played.pictures)["level_share"]
    assert 0 < share < 0.5


def test_a_teacher_goes_by_the_goal_and_refuses_other_robots() -> None:
    poses = _poses(_on_hind_foot(REARING), _on_hind_foot(REARING, 0.2))
    clip = Segment("HalfCheetah-v5", np.zeros((1, 17)), np.zeros((1, 6)), poses)
    teacher = Teacher(TeacherSettings(goal="one_leg", mistakes=0.0), seed=0)
    assert teacher.score(clip) == pytest.approx(2)
    with pytest.raises(DataError, match="wanted HalfCheetah-v5"):
        GoalEye("rear").steps(Segment("Hopper-v5", np.zeros((1, 11)), np.zeros((1, 3)), np.zeros((2, 6))), None)
