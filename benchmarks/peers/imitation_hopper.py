"""imitation's preference comparisons on Hopper: an epoch of the reward model, and the whole loop; one JSON line.

python -m venv .peers-imitation
.peers-imitation/bin/pip install torch==2.13.0 imitation==1.0.1 'gymnasium[mujoco]==0.29.1' 'mujoco<3' 'imageio<3'
.peers-imitation/bin/python imitation_hopper.py predictor --members 3
.peers-imitation/bin/python imitation_hopper.py loop
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np


def _reward_net(members: int) -> Any:
    import gymnasium as gym
    from imitation.rewards.reward_nets import BasicRewardNet, RewardEnsemble

    low, high = np.full(11, -np.inf, np.float32), np.full(11, np.inf, np.float32)
    seen, acts = gym.spaces.Box(low, high), gym.spaces.Box(-1, 1, (3,), np.float32)
    options = {"hid_sizes": (64, 64)}
    nets = [BasicRewardNet(seen, acts, **options) for _ in range(members)]
    return nets[0] if members == 1 else RewardEnsemble(seen, acts, nets)


def _trainer(net: Any, members: int, epochs: int) -> Any:
    from imitation.algorithms.preference_comparisons import (
        BasicRewardTrainer,
        CrossEntropyRewardLoss,
        EnsembleTrainer,
        PreferenceModel,
    )

    loss, draw = CrossEntropyRewardLoss(), np.random.default_rng(0)
    kind = BasicRewardTrainer if members == 1 else EnsembleTrainer
    return kind(PreferenceModel(net), loss, rng=draw, epochs=epochs)


def predictor(members: int, comparisons: int, length: int, epochs: int) -> dict[str, Any]:
    """Seconds an epoch over so many comparisons of clips of `length` steps."""
    from imitation.algorithms.preference_comparisons import PreferenceDataset
    from imitation.data.types import TrajectoryWithRew

    draw = np.random.default_rng(0)

    def clip() -> Any:
        seen = draw.normal(size=(length + 1, 11)).astype(np.float32)
        acts = draw.uniform(-1, 1, (length, 3)).astype(np.float32)
        return TrajectoryWithRew(seen, acts, infos=None, terminal=False, rews=np.zeros(length, np.float32))

    data = PreferenceDataset()
    data.push([(clip(), clip()) for _ in range(comparisons)], draw.integers(2, size=comparisons).astype(np.float32))
    trainer = _trainer(_reward_net(members), members, epochs)
    begin = time.perf_counter()
    trainer.train(data)
    return {"seconds_per_epoch": (time.perf_counter() - begin) / epochs, "members": members, "comparisons": comparisons}


def loop(steps: int, comparisons: int) -> dict[str, Any]:
    """Agent steps a second of the whole loop, with a synthetic labeller; its rollouts for clips are counted as work."""
    from imitation.algorithms import preference_comparisons as prefs
    from imitation.rewards.reward_nets import BasicRewardNet
    from imitation.util.util import make_vec_env
    from stable_baselines3 import PPO

    draw = np.random.default_rng(0)
    never = {"terminate_when_unhealthy": False}  # a fixed horizon, as ours has
    env = make_vec_env("Hopper-v4", rng=draw, n_envs=8, max_episode_steps=1000, env_make_kwargs=never)
    net = BasicRewardNet(env.observation_space, env.action_space, hid_sizes=(64, 64))
    agent = PPO("MlpPolicy", env, n_steps=256, seed=0, device="cpu")
    collector = prefs.AgentTrainer(algorithm=agent, reward_fn=net, venv=env, exploration_frac=0.0, rng=draw)
    algorithm = prefs.PreferenceComparisons(
        collector,
        net,
        num_iterations=3,
        fragmenter=prefs.RandomFragmenter(warning_threshold=0, rng=draw),
        preference_gatherer=prefs.SyntheticGatherer(rng=draw),
        reward_trainer=_trainer(net, 1, 3),
        fragment_length=60,
        transition_oversampling=1,
        initial_comparison_frac=0.25,
    )
    begin = time.perf_counter()
    algorithm.train(total_timesteps=steps, total_comparisons=comparisons)
    done = agent.num_timesteps
    return {"steps_per_s": done / (time.perf_counter() - begin), "comparisons": comparisons, "steps": done}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["predictor", "loop"])
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--comparisons", type=int, default=900)
    parser.add_argument("--length", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6144)
    given = parser.parse_args()
    if given.what == "predictor":
        print(json.dumps(predictor(given.members, given.comparisons, given.length, given.epochs)))
    else:
        print(json.dumps(loop(given.steps, min(given.comparisons, 150))))


if __name__ == "__main__":
    main()
