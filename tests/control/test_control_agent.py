"""PPO's four verbs: advantages of a rollout that no episode ends in, normalisation, checkpoints, and refusals."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from control_kit import registered

from backflip.control.agent import PPO, PPOSettings
from backflip.control.envs import EnvSettings
from backflip.control.learner import Learner, Stage, seed_of
from backflip.control.policies import ActorCritic, Normaliser
from backflip.control.spaces import Space
from backflip.errors import ConfigError, TrainingDiverged

BOX = Space("Point", (2,), 1)
SMALL = PPOSettings(steps=4, epochs=2, minibatch=4, hidden=8)


def _rollout(agent: PPO, *, count: int = 3, steps: int = 4, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    for _ in range(steps):
        seen = draw.normal(size=(count, 2)).astype(np.float32)
        agent.record(seen, agent.act(seen))
    return draw.normal(size=(count, 2)).astype(np.float32)


def test_what_follows_a_rollout_counts_by_its_value() -> None:
    agent = PPO(BOX, PPOSettings(steps=2, gamma=0.9, lam=1.0, hidden=8), count=1, seed=0)
    last = _rollout(agent, count=1, steps=2)
    values = torch.stack([c.values for c in agent._choices]).squeeze()
    after = agent.net.values(torch.from_numpy(last)).detach().squeeze()
    agent.returns(torch.tensor([[1.0], [2.0]]), last)
    # With lambda 1 the returns are r_0 + 0.9 r_1 + 0.81 V and r_1 + 0.9 V; the first scale is theirs.
    returns = torch.stack([1 + 0.9 * 2 + 0.81 * after, 2 + 0.9 * after])
    scaled = (returns - returns.mean()) / returns.std(unbiased=False)
    torch.testing.assert_close(agent._batch["returns"], scaled, rtol=1e-4, atol=1e-5)
    gap = returns - values
    wanted = (gap - gap.mean()) / gap.std(unbiased=False)
    torch.testing.assert_close(agent._batch["advantages"], wanted, rtol=1e-3, atol=1e-3)


def test_an_update_moves_towards_what_was_rewarded() -> None:
    agent = PPO(BOX, PPOSettings(steps=50, hidden=8, minibatch=50), count=4, seed=0)
    seen = np.zeros((4, 2), np.float32)
    before = agent.act(seen, greedy=True).actions.mean()
    for _ in range(3):
        last = _rollout(agent, count=4, steps=50)
        acted = torch.stack([c.actions for c in agent._choices]).squeeze(-1)
        agent.returns(acted, last)
        agent.update()
    assert agent.act(seen, greedy=True).actions.mean() > before + 0.1


@pytest.mark.parametrize("space", [BOX, Space("Game", (4, 84, 84), 3, discrete=True, image=True)], ids=["box", "game"])
def test_log_probabilities_are_those_of_torch_distributions(space: Space) -> None:
    torch.manual_seed(0)
    net = ActorCritic(space, hidden=8)
    shape = (5, *space.observation)
    seen = torch.randint(256, shape, dtype=torch.uint8) if space.image else torch.randn(shape)
    choice = net.choose(seen, torch.Generator().manual_seed(1))
    logprobs, values, entropy = net.judge(net.read(seen), choice.actions)
    with torch.no_grad():
        out = net.policy(net._seen(net.read(seen)))
    known: torch.distributions.Distribution = (
        torch.distributions.Categorical(logits=out)
        if space.discrete
        else torch.distributions.Independent(torch.distributions.Normal(out, net.log_std.detach().exp()), 1)
    )
    torch.testing.assert_close(logprobs.detach(), known.log_prob(choice.actions))
    torch.testing.assert_close(entropy.detach(), known.entropy())
    torch.testing.assert_close(logprobs.detach(), choice.logprobs)
    torch.testing.assert_close(values.detach(), choice.values)


def test_the_normaliser_knows_the_moments_of_all_batches() -> None:
    draw = torch.Generator().manual_seed(0)
    batches = [torch.randn(n, 3, generator=draw) * 5 + 2 for n in (4, 1, 30)]
    normaliser = Normaliser(3)
    for batch in batches:
        normaliser.see(batch)
    everything = torch.cat(batches).double()
    torch.testing.assert_close(normaliser.mean, everything.mean(dim=0))
    torch.testing.assert_close(normaliser.var, everything.var(dim=0, unbiased=False))
    with pytest.raises(TrainingDiverged, match="NaN"):
        normaliser.see(torch.full((2, 3), torch.nan))


def test_a_checkpoint_goes_on_bit_by_bit() -> None:
    agent, other = PPO(BOX, SMALL, count=3, seed=0), PPO(BOX, SMALL, count=3, seed=5)
    agent.returns(torch.ones(4, 3), _rollout(agent))
    agent.update()
    other.restore(deepcopy(agent.state()))
    for one in (agent, other):
        one.returns(torch.arange(12.0).view(4, 3), _rollout(one, seed=7))
    assert agent.update() == other.update()
    seen = np.ones((3, 2), np.float32)
    assert torch.equal(agent.act(seen).actions, other.act(seen).actions)


def test_the_learning_rate_follows_the_kl() -> None:
    agent = PPO(BOX, PPOSettings(learning_rate=1e-3, target_kl=0.01), count=1, seed=0)
    for kl, rate in ((0.021, 1e-3 / 1.5), (0.01, 1e-3 / 1.5), (0.004, 1e-3)):
        agent._adapt(kl)
        assert agent.rate == pytest.approx(rate)


def test_rewards_that_are_not_finite_stop_it() -> None:
    agent = PPO(BOX, SMALL, count=3, seed=0)
    last = _rollout(agent)
    with pytest.raises(TrainingDiverged, match="NaN or infinite"):
        agent.returns(torch.full((4, 3), torch.nan), last)


def test_episodes_are_seeded_anew_at_checkpoints_and_lengthen() -> None:
    with registered() as env:
        settings = EnvSettings(env, count=2, horizon=8)
        stages = [Stage(until=17, horizon=4)]
        learner = Learner(settings, SMALL, seed=3, reseed_every=2, stages=stages)
        places = []
        for _ in range(6):
            learner.rollout()
            learner.forget()
            places.append(learner.recorder.observations[0, :, 0])
        learner.close()
        later = Learner(settings, SMALL, seed=3, reseed_every=2, stages=stages)
        later.rollouts = 4
        later.rollout()
        later.close()
    begun = [bool((np.abs(p) > 0.1).any()) for p in places]  # a place halves at each step: after 4 it is below 0.07
    # 8 steps a rollout; the horizon changes with the seed, at rollout 4: until then each rollout is an episode.
    assert begun == [True, True, True, True, True, False]
    np.testing.assert_array_equal(later.recorder.observations[0, :, 0], places[4])


def test_staggered_episodes_begin_at_different_rollouts() -> None:
    with registered() as env:
        learner = Learner(EnvSettings(env, count=3, horizon=8), SMALL, seed=3, reseed_every=4, stagger=True)
        begun = []
        for _ in range(5):
            learner.rollout()
            learner.forget()
            begun.append((np.abs(learner.recorder.observations[0, :, 0]) > 0.07).tolist())
        learner.close()
    # Two rollouts an episode. All begin at rollouts 0 and 4; then the second at 1 and 3, the others at 2.
    assert begun == [[True] * 3, [False, True, False], [True, False, True], [False, True, False], [True] * 3]


def test_at_the_end_the_agent_settles() -> None:
    agent = PPO(BOX, replace(SMALL, anneal=0.5, entropy=0.1), count=3, seed=0)
    left = []
    for done in (0.25, 0.5, 0.75, 1.0):
        agent.returns(torch.zeros(4, 3), _rollout(agent))
        agent.update(done)
        left.append(agent.left)
    assert left == [1, 1, 0.5, 0]
    rate = agent.rate
    agent._adapt(0.0019)  # a tenth of the wanted KL of 0.01 is left
    assert agent.rate == pytest.approx(rate)
    agent._adapt(0.0021)
    assert agent.rate < rate


def test_a_rollout_that_spans_an_episodes_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="a multiple of a rollout's 4 steps"):
        Learner(EnvSettings(horizon=10), SMALL, seed=0, reseed_every=10)


def test_seeds_of_training_are_below_those_of_evaluation() -> None:
    assert all(0 <= seed_of(seed, "episode", i) < 2**30 for seed in range(3) for i in range(200))
