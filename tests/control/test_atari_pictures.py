"""The seven games of the paper, on their real pictures: the score is there, and the agent sees none of it."""

from __future__ import annotations

import numpy as np
import pytest
from ale_py.vector_env import AtariVectorEnv

from backflip.control import envs as module
from backflip.control.envs import EnvSettings, make_envs

# Where the score's digits change when something is scored, in the 84 rows that the agent gets (measured).
DIGITS = {
    "BeamRider": (3, 8),
    "Breakout": (2, 6),
    "Enduro": (64, 82),
    "Pong": (0, 8),
    "Qbert": (2, 6),
    "Seaquest": (3, 7),
    "SpaceInvaders": (3, 7),
}


@pytest.mark.parametrize("game", sorted(DIGITS))
def test_the_score_is_blanked_and_nothing_else(game: str) -> None:
    envs = make_envs(EnvSettings(f"ALE/{game}-v5", count=2, horizon=60))
    name = "".join(f"_{c.lower()}" if c.isupper() else c for c in game).lstrip("_")
    raw = AtariVectorEnv(name, 2, num_threads=1, reward_clipping=False, use_fire_reset=False)
    seen, shown = envs.reset(3), raw.reset(seed=3)[0]
    assert seen.shape == (2, 4, 84, 84)
    blank = slice(*module._SCORES[name])
    digits = slice(*DIGITS[game])
    draw, written = np.random.default_rng(0), []
    for _ in range(60):
        acts = draw.integers(envs.space.actions, size=2)
        seen, shown = envs.step(acts), raw.step(acts)[0]
        assert not seen[:, :, blank].any()
        kept = np.delete(np.arange(84), np.arange(84)[blank])
        np.testing.assert_array_equal(seen[:, :, kept], shown[:, :, kept])
        written.append(shown[:, :, digits].any())
    assert blank.start <= digits.start
    assert digits.stop <= blank.stop
    assert any(written), f"nothing is written in rows {digits} of {game}: the table is of another picture"
    envs.close()
    raw.close()
