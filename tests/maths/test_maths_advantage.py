"""GAE by hand and against the double sum; the reward of each token by hand; padding changes nothing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backflip.errors import DataError
from backflip.maths.advantage import gae, sequence_rewards


def slow_gae(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """The definition (arXiv 1506.02438, eq. 16) without padding: A_t = sum over l of (gamma lam)^l delta_{t+l}."""
    following = [*values[1:], 0.0]
    deltas = [r + gamma * n - v for r, n, v in zip(rewards, following, values, strict=True)]
    return [sum((gamma * lam) ** k * d for k, d in enumerate(deltas[t:])) for t in range(len(deltas))]


def ragged(seed: int, lengths: list[int], *, extra: int = 0, junk: float = math.nan) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards, values and mask; padding of `extra` more columns holds `junk`."""
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    draws = torch.randn(2, len(lengths), width, generator=generator, dtype=torch.float64)
    draws = torch.nn.functional.pad(draws, (0, extra))
    mask = torch.arange(width + extra) < torch.tensor(lengths)[:, None]
    rewards, values = torch.where(mask, draws, junk)
    return rewards, values, mask


def test_gae_by_hand() -> None:
    # gamma 0.9, lam 0.5, so 0.45 a step back
    # t=3: delta = 2 - 1.5 = 0.5                        A = 0.5
    # t=2: delta = 0 + 0.9 * 1.5 - 1 = 0.35             A = 0.35 + 0.45 * 0.5 = 0.575
    # t=1: delta = 1 + 0.9 * 1 - 0.5 = 1.4              A = 1.4 + 0.45 * 0.575 = 1.65875
    rewards = torch.tensor([[1.0, 0.0, 2.0, 99.0]], dtype=torch.float64)
    values = torch.tensor([[0.5, 1.0, 1.5, 99.0]], dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 0]])
    advantages, returns = gae(rewards=rewards, values=values, mask=mask, gamma=0.9, lam=0.5)
    assert advantages[0].tolist() == pytest.approx([1.65875, 0.575, 0.5, 0.0], rel=1e-14)
    assert returns[0].tolist() == pytest.approx([2.15875, 1.575, 2.0, 0.0], rel=1e-14)


@given(
    seed=st.integers(0, 2**31),
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    gamma=st.floats(0, 1),
    lam=st.floats(0, 1),
)
@settings(deadline=None, max_examples=40)
def test_gae_equals_the_double_sum(seed: int, lengths: list[int], gamma: float, lam: float) -> None:
    rewards, values, mask = ragged(seed, lengths)
    fast = gae(rewards=rewards, values=values, mask=mask, gamma=gamma, lam=lam)
    for row, n in enumerate(lengths):
        slow = slow_gae(rewards[row, :n].tolist(), values[row, :n].tolist(), gamma, lam)
        assert fast.advantages[row, :n].tolist() == pytest.approx(slow, rel=1e-11, abs=1e-11)
        assert (fast.advantages[row, n:] == 0).all()
        assert (fast.returns[row, n:] == 0).all()


def test_lambda_one_without_discount_is_return_minus_value() -> None:
    rewards, values, mask = ragged(3, [5, 2])
    _, returns = gae(rewards=rewards, values=values, mask=mask, gamma=1.0, lam=1.0)
    for row, n in enumerate([5, 2]):
        to_go = rewards[row, :n].flip(0).cumsum(0).flip(0)
        torch.testing.assert_close(returns[row, :n], to_go, rtol=1e-12, atol=1e-12)


def test_padding_changes_no_bit() -> None:
    narrow, wide = ragged(5, [4, 1, 3], junk=0.0), ragged(5, [4, 1, 3], extra=6)
    for a, b in zip(
        *(gae(rewards=r, values=v, mask=m, gamma=0.99, lam=0.95) for r, v, m in (narrow, wide)), strict=True
    ):
        assert torch.equal(a, b[:, :4])


def test_gae_gradients() -> None:
    rewards, values, mask = ragged(7, [3, 2], junk=1.0)
    inputs = (rewards.clone().requires_grad_(), values.clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda r, v: tuple(gae(rewards=r, values=v, mask=mask, gamma=0.9, lam=0.8)), inputs)


def test_sequence_rewards_by_hand() -> None:
    # beta 0.1: -0.1 * kl, and the scores 2 and -1 at the last valid token
    kl = torch.tensor([[1.0, -0.5, math.nan], [0.2, 0.4, 0.6]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    rewards = sequence_rewards(kl=kl, scores=torch.tensor([2.0, -1.0]), mask=mask, beta=0.1)
    torch.testing.assert_close(rewards, torch.tensor([[-0.1, 2.05, 0.0], [-0.02, -0.04, -1.06]]), rtol=1e-6, atol=0)


def test_sequence_rewards_sum_to_the_penalised_score() -> None:
    kl, _, mask = ragged(11, [6, 1, 4])
    scores = torch.tensor([0.3, -2.0, 1.0], dtype=torch.float64)
    rewards = sequence_rewards(kl=kl, scores=scores, mask=mask, beta=0.02)
    wanted = scores - 0.02 * torch.where(mask, kl, 0.0).sum(1)
    torch.testing.assert_close(rewards.sum(1), wanted, rtol=1e-13, atol=1e-13)


def test_malformed_input_is_refused() -> None:
    kl, ones = torch.zeros(2, 3), torch.ones(2, 3)
    with pytest.raises(DataError, match="response 1 has no valid token"):
        sequence_rewards(kl=kl, scores=torch.zeros(2), mask=torch.tensor([[1, 1, 1], [0, 0, 0]]), beta=0.1)
    with pytest.raises(DataError, match=r"scores \(2, 1\)"):
        sequence_rewards(kl=kl, scores=torch.zeros(2, 1), mask=ones, beta=0.1)
    with pytest.raises(DataError, match="padding on the right"):
        gae(rewards=kl, values=kl, mask=torch.tensor([[1, 1, 1], [0, 1, 1]]), gamma=1, lam=1)
    with pytest.raises(DataError, match="shapes differ"):
        gae(rewards=kl, values=torch.zeros(2, 4), mask=ones, gamma=1, lam=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    x, mask = torch.ones(2, 3, dtype=dtype), torch.ones(2, 3, dtype=torch.bool)
    assert gae(rewards=x, values=x, mask=mask, gamma=0.9, lam=0.9).returns.dtype == dtype
    assert sequence_rewards(kl=x, scores=x[:, 0], mask=mask, beta=0.1).dtype == dtype
