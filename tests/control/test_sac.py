"""SAC: its replay, what relabelling changes, curiosity before the first question, checkpoints, and refusals."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from backflip.control.agents import Agent, make_agent
from backflip.control.replay import Replay
from backflip.control.sac import SAC, SACSettings
from backflip.control.spaces import Space
from backflip.errors import ConfigError, DataError, TrainingDiverged
from backflip.maths.soft import soft_targets

BOX = Space("Point", (2,), 1)
SMALL = SACSettings(steps=4, ratio=3, batch=6, hidden=8, replay=30, learning_rate=3e-3)


def _lived(agent: Agent, *, count: int = 3, steps: int = 4, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    for _ in range(steps):
        seen = draw.normal(size=(count, 2)).astype(np.float32)
        agent.record(seen, agent.act(seen))
    return draw.normal(size=(count, 2)).astype(np.float32)


def _replay() -> Replay:
    """Two places of 2 steps of 3 environments; an observation is 100 rollout + 10 step + environment."""
    replay = Replay(steps=2, count=3, capacity=12, observation=1, actions=1)
    for rollout in range(3):
        seen = 100.0 * rollout + 10 * torch.arange(3.0)[:, None] + torch.arange(3.0)
        replay.add(observations=seen[..., None], actions=seen[:2, :, None] / 100, rewards=seen[:2])
    return replay


def test_a_drawn_step_is_followed_by_what_followed_it() -> None:
    replay = _replay()
    assert len(replay) == 12
    drawn = replay.draw((50, 4), torch.Generator().manual_seed(0))
    seen = drawn.observations.squeeze(-1)
    torch.testing.assert_close(drawn.following.squeeze(-1), seen + 10)
    torch.testing.assert_close(drawn.rewards, seen)
    torch.testing.assert_close(drawn.actions.squeeze(-1), seen / 100)
    assert set((seen // 100).flatten().tolist()) == {1, 2}  # the oldest rollout is gone
    assert len(set(seen.flatten().tolist())) == 12  # and every step that is left may be drawn


def test_relabelling_changes_every_stored_reward() -> None:
    replay = _replay()
    replay.relabel(lambda observations, actions: -observations.squeeze(-1) + actions.squeeze(-1))
    seen = replay.observations[:, :-1].squeeze(-1)
    torch.testing.assert_close(replay.rewards, -seen + seen / 100)


def test_a_rollout_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match="wanted"):
        _replay().add(observations=torch.zeros(2, 3, 1), actions=torch.zeros(2, 3, 1), rewards=torch.zeros(2, 3))


def test_the_critics_step_is_down_the_slow_loss() -> None:
    agent = SAC(BOX, SMALL, count=3, seed=0)
    agent.returns(torch.randn(4, 3), _lived(agent))
    part = agent.replay.draw((6,), torch.Generator().manual_seed(1))
    noise = torch.Generator()
    noise.set_state(agent.draw.get_state())
    nets = [deepcopy(agent.critics), deepcopy(agent.targets)]
    with torch.no_grad():
        actions, logprobs = agent.net(part.following, torch.randn(6, 1, generator=noise))
        later = nets[1](torch.cat([part.following, actions], dim=-1))
        target = soft_targets(
            rewards=part.rewards, next_values=later, next_logprobs=logprobs, gamma=0.99, alpha=torch.tensor(0.1)
        )
    values = nets[0](torch.cat([part.observations, part.actions], dim=-1))
    loss = sum(0.5 * ((values[critic] - target) ** 2).mean() for critic in range(2))
    assert isinstance(loss, Tensor)
    loss.backward()
    found = agent._improve_critics(part)
    torch.testing.assert_close(found["agent/critic_loss"], loss.detach())
    for mine, slow, late, before in zip(
        agent.critics.parameters(),
        nets[0].parameters(),
        agent.targets.parameters(),
        nets[1].parameters(),
        strict=True,
    ):
        torch.testing.assert_close(mine.grad, slow.grad)
        torch.testing.assert_close(late.detach(), 0.995 * before.detach() + 0.005 * mine.detach())
    assert all(p.grad is None for p in agent.net.parameters())


def test_curiosity_fills_the_replay_until_the_first_question_and_is_then_relabelled() -> None:
    agent = SAC(BOX, replace(SMALL, pretrain=20, steps=4), count=3, seed=0)
    assert agent.curious
    metrics = agent.explore(_lived(agent))
    assert {"agent/state_entropy", "agent/critic_loss"} <= metrics.keys()
    assert float(agent.replay.rewards[0].std()) == pytest.approx(1, abs=0.01)
    agent.explore(_lived(agent, seed=1))
    assert not agent.curious  # 24 steps of 20
    assert agent.explore(_lived(agent, seed=2)) == {}
    assert len(agent.replay) == 24
    before = [p.detach().clone() for p in agent.critics.parameters()]
    agent.relabel(lambda observations, _: observations[..., 0])
    torch.testing.assert_close(agent.replay.rewards[:2], agent.replay.observations[:2, :-1, :, 0])
    fresh = list(agent.critics.parameters())
    assert all(not torch.equal(a, b) for a, b in zip(before, fresh, strict=True))  # what they believed in is gone
    agent.relabel(lambda observations, _: observations[..., 1])
    assert all(a is b for a, b in zip(fresh, agent.critics.parameters(), strict=True))  # once


def test_states_far_from_the_others_are_worth_most_to_curiosity() -> None:
    agent = SAC(BOX, replace(SMALL, pretrain=20, neighbour=2), count=3, seed=0)
    for step in range(4):
        seen = np.full((3, 2), 0.01 * step, np.float32)
        seen[0] += 5 * step
        agent.record(seen, agent.act(seen))
    agent.explore(np.zeros((3, 2), np.float32))
    assert float(agent.replay.rewards[0, 1:, 0].min()) > float(agent.replay.rewards[0, :, 1:].max())


def test_a_checkpoint_with_its_replay_goes_on_bit_by_bit() -> None:
    settings = replace(SMALL, pretrain=10)
    agent, other = SAC(BOX, settings, count=3, seed=0), SAC(BOX, settings, count=3, seed=5)
    agent.explore(_lived(agent))
    other.restore(deepcopy(agent.state()))
    for one in (agent, other):
        one.relabel(lambda observations, _: observations[..., 0])
        one.returns(torch.arange(12.0).view(4, 3), _lived(one, seed=7))
    assert agent.update() == other.update()
    seen = np.ones((3, 2), np.float32)
    assert torch.equal(agent.act(seen).actions, other.act(seen).actions)
    assert torch.equal(agent.act(seen, greedy=True).actions, other.act(seen, greedy=True).actions)


def test_it_learns_the_best_action_and_its_temperature_falls() -> None:
    agent = SAC(
        BOX, SACSettings(steps=20, ratio=4, batch=64, hidden=16, learning_rate=5e-3, gamma=0.5), count=8, seed=0
    )
    for rollout in range(16):
        last = _lived(agent, count=8, steps=20, seed=rollout)
        done = torch.stack(agent._actions).squeeze(-1)
        agent.returns(-((done - 0.6) ** 2), last)
        metrics = agent.update()
    best = agent.act(np.random.default_rng(99).normal(size=(100, 2)).astype(np.float32), greedy=True).actions
    assert float((best - 0.6).abs().mean()) < 0.1
    assert metrics["agent/alpha"] < 0.1


def test_rewards_that_are_not_finite_stop_it_and_other_spaces_are_refused() -> None:
    agent = SAC(BOX, SMALL, count=3, seed=0)
    agent.returns(torch.full((4, 3), torch.nan), _lived(agent))
    with pytest.raises(TrainingDiverged, match="finite"):
        agent.update()
    for space in (Space("Game", (4, 84, 84), 3, discrete=True, image=True), Space("Cart", (4,), 2, discrete=True)):
        with pytest.raises(ConfigError, match="PPO"):
            make_agent(space, SMALL, count=1, seed=0)
    with pytest.raises(ConfigError, match="gamma"):
        SACSettings(gamma=1.0)
