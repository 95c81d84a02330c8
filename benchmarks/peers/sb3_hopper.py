"""stable-baselines3's PPO on Hopper-v5, and Gymnasium's default pictures of two clips: seconds, as one JSON line.

python -m venv .peers-sb3
.peers-sb3/bin/pip install torch==2.13.0 stable-baselines3==2.9.2 'gymnasium[mujoco]'
.peers-sb3/bin/python sb3_hopper.py ppo --envs 8 --steps 16384
.peers-sb3/bin/python sb3_hopper.py pair
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any


def ppo(envs: int, steps: int) -> dict[str, Any]:
    """Steps a second of `learn`, SB3's settings but for the number of environments."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    env = make_vec_env("Hopper-v5", n_envs=envs, seed=0)
    model = PPO("MlpPolicy", env, seed=0, device="cpu")
    model.learn(model.n_steps * envs)  # the first rollout pays for what is paid once
    begin = time.perf_counter()
    before = model.num_timesteps
    model.learn(steps, reset_num_timesteps=False)
    return {"steps_per_s": (model.num_timesteps - before) / (time.perf_counter() - begin), "envs": envs}


def pair() -> dict[str, Any]:
    """Two clips of 60 steps as pictures, by Gymnasium's own renderer."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    import gymnasium

    env = gymnasium.make("Hopper-v5", render_mode="rgb_array")
    env.reset(seed=0)
    env.render()
    begin = time.perf_counter()
    for _ in range(120):
        env.step(env.action_space.sample())
        env.render()
    return {"seconds": time.perf_counter() - begin, "pictures": 120}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["ppo", "pair"])
    parser.add_argument("--envs", type=int, default=1)
    parser.add_argument("--steps", type=int, default=16384)
    given = parser.parse_args()
    print(json.dumps(ppo(given.envs, given.steps) if given.what == "ppo" else pair()))


if __name__ == "__main__":
    main()
