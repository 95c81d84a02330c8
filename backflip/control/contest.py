"""Which of several policies is best by the reward that they were trained on: whole episodes, from starts of training's.

The evaluator's starts have no part in it, nor has the true reward where nobody was trained on it: whoever trains may do
this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from backflip.control.agents import Agent
from backflip.control.envs import EnvSettings, make_envs
from backflip.control.learner import seed_of
from backflip.control.segments import Recorder

__all__ = ["best_of", "play"]

_COUNT = 16  # episodes side by side


def play(agent: Agent, env: EnvSettings, *, seed: int, witness: bool = False) -> Recorder:
    """Episodes of `env.horizon` steps with the most likely actions; with a `witness` their true rewards are sealed."""
    recorder = Recorder(env.env)
    envs = make_envs(env, witness=recorder.witness if witness else None)
    try:
        seen = envs.reset(seed)
        recorder.start(envs.states())
        for _ in range(env.horizon):
            done = agent.act(seen, greedy=True).actions.numpy()
            after = envs.step(done)
            recorder.record(seen, done, envs.states())
            seen = after
    finally:
        envs.close()
    return recorder


def best_of(
    agent: Agent,
    policies: Sequence[Mapping[str, Any]],
    env: EnvSettings,
    reward: Callable[[Recorder], Tensor],
    *,
    seed: int,
    witness: bool = False,
) -> tuple[int, list[float]]:
    """Gives the agent the best of the nets; returns its place, and the mean reward of a step of each.

    `witness`: where the reward itself goes by the true one, as that of a simulated teacher may.
    """
    scores = []
    for net in policies:
        agent.net.load_state_dict(net)
        played = play(agent, replace(env, count=_COUNT), seed=seed_of(seed, "contest"), witness=witness)
        scores.append(float(reward(played).mean()))
    best = int(torch.tensor(scores).argmax())
    agent.net.load_state_dict(policies[best])
    return best, scores
