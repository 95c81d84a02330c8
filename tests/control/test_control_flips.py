"""Flips, contacts and landings: hand-made poses, and MuJoCo's own contacts."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from backflip.control.flips import LINKS, TURN, FlipCount, clearances, contacts, count_flips, mean_flips

STANDING = 1.25  # height of the torso with the foot just on the floor


def _poses(turns: list[float], heights: list[float]) -> NDArray[np.float64]:
    """Poses of a stiff Hopper that has turned backwards so far, its torso so high."""
    poses = np.zeros((len(turns), 6))
    poses[:, 1], poses[:, 2] = heights, -TURN * np.array(turns)
    return poses


def test_contacts_are_mujocos() -> None:
    model = mujoco.MjModel.from_xml_path(str(Path(gymnasium.__file__).parent / "envs/mujoco/assets/hopper.xml"))
    env = gymnasium.make("Hopper-v5", terminate_when_unhealthy=False)
    env.reset(seed=1)
    env.action_space.seed(1)
    data, poses, seen = mujoco.MjData(model), [], []
    for _ in range(400):
        env.step(env.action_space.sample())
        data.qpos[:] = env.unwrapped.data.qpos  # type: ignore[attr-defined]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        with_floor = {max(c.geom1, c.geom2) for c in data.contact[: data.ncon] if 0 in (c.geom1, c.geom2)}
        poses.append(data.qpos.copy())
        seen.append([model.geom(f"{link}_geom").id in with_floor for link in LINKS])
    env.close()
    found, wanted = contacts(np.array(poses)), np.array(seen)
    assert wanted[:, :3].any()
    assert wanted[:, 3].any()
    np.testing.assert_array_equal(found.body, wanted[:, :3].any(axis=1))
    np.testing.assert_array_equal(found.foot, wanted[:, 3])


def test_clearances_of_a_standing_hopper() -> None:
    # Torso 1.25 +- 0.2 with radius 0.05; thigh from 1.05 to 0.6; leg to 0.1 with radius 0.04; foot at 0.1, radius 0.06.
    np.testing.assert_allclose(clearances(_poses([0], [STANDING]))[0], [1.0, 0.55, 0.06, 0.04], atol=1e-12)


def test_a_turn_in_the_air_is_a_clean_flip_and_two_are_two() -> None:
    one = count_flips(_poses([0, 0.25, 0.5, 0.75, 1.01], [STANDING, 3, 3, 3, STANDING]))
    # 1 flip in 4 steps is 250 in 1000, and 1.01 turns are 252.5.
    assert one.clean_flips == pytest.approx(250)
    assert one.net_turns == pytest.approx(252.5)
    assert one.body_floor_share == 0
    two = count_flips(_poses(np.linspace(0, 2.02, 9).tolist(), [3] * 9))
    assert two.clean_flips == pytest.approx(2 * 1000 / 8)


@pytest.mark.parametrize(
    ("turns", "heights"),
    [
        ([0, -0.25, -0.5, -0.75, -1.01], [3, 3, 3, 3, 3]),  # forwards
        ([0, 0.25, 0.5, 0.75, 1.01], [3, 3, 0.1, 3, 3]),  # the torso on the floor halfway
        ([0, 0.25, 0.5, 0.75, 0.99], [3, 3, 3, 3, 3]),  # not complete
        ([0, 0.6, 0.2, 0.6, 1.01], [3, 3, 0.1, 3, 3]),  # 0.8 turns since the body touched
    ],
)
def test_what_is_no_clean_flip(turns: list[float], heights: list[float]) -> None:
    assert count_flips(_poses(turns, heights)).clean_flips == 0


def test_a_turn_counts_from_the_furthest_point_back() -> None:
    assert count_flips(_poses([0, -0.5, 0, 0.51], [3] * 4)).clean_flips == pytest.approx(1000 / 3)


def test_a_turn_of_the_torso_on_a_standing_leg_is_no_flip() -> None:
    poses = _poses(np.linspace(0, 1.05, 50).tolist(), [0.0] * 50)
    poses[:, 3] = poses[:, 2]  # the thigh's joint takes the turn back: thigh, leg and foot stand still
    poses[:, 1] = 1.05 - 0.04 + 0.2 * np.cos(poses[:, 2])
    touch = contacts(poses)
    assert touch.foot.all()
    assert not touch.body.any()
    assert count_flips(poses).clean_flips == 0


def test_an_upright_landing_is_on_the_foot_after_half_a_turn() -> None:
    high, low = 3.0, STANDING - 0.04
    landed = count_flips(_poses([0, 0.3, 0.6, 1.0], [low, high, high, low]))
    assert landed.upright_landings == pytest.approx(1000 / 3)
    hop = count_flips(_poses([0, 0.0, 0.0, 0.0], [low, high, high, low]))
    assert hop.upright_landings == 0
    assert mean_flips([landed, hop]) == FlipCount(
        **{n: (getattr(landed, n) + getattr(hop, n)) / 2 for n in FlipCount.__dataclass_fields__}
    )
