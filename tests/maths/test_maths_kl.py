"""The KL estimators against the exact KL, the controller by hand, the best-of-n bound against the exact KL."""

import math

import pytest
import torch

from backflip.errors import ConfigError, DataError, TrainingDiverged
from backflip.maths.kl import adapt_beta, best_of_n_kl_bound, k1, k3, sequence_kl


def test_estimators_by_hand() -> None:
    # p = 1/2, p_ref = 1/4: k1 = ln 2, k3 = 1/2 - 1 + ln 2; p = 1/4, p_ref = 1/2: k1 = -ln 2, k3 = 2 - 1 - ln 2
    p, q = torch.tensor([0.5, 0.25]).double().log(), torch.tensor([0.25, 0.5]).double().log()
    ln2 = math.log(2)
    assert k1(logprobs=p, reference=q).tolist() == pytest.approx([ln2, -ln2], rel=1e-15)
    assert k3(logprobs=p, reference=q).tolist() == pytest.approx([ln2 - 0.5, 1 - ln2], rel=1e-14)


def test_both_estimators_are_unbiased_and_k3_is_never_negative() -> None:
    torch.manual_seed(0)
    p, q = torch.randn(2, 50, dtype=torch.float64).log_softmax(-1)
    exact = (p.exp() * (p - q)).sum()
    for estimator in (k1, k3):
        torch.testing.assert_close((p.exp() * estimator(logprobs=p, reference=q)).sum(), exact, rtol=1e-12, atol=0)
    assert (k3(logprobs=p, reference=q) >= 0).all()
    assert (k3(logprobs=p, reference=p) == 0).all()


def test_gradients() -> None:
    p, q = torch.randn(2, 5, dtype=torch.float64, requires_grad=True).unbind()
    p, q = p.detach().requires_grad_(), q.detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda p, q: (k1(logprobs=p, reference=q), k3(logprobs=p, reference=q)), (p, q))


def test_sequence_kl_sums_valid_tokens_only() -> None:
    kl = torch.tensor([[0.5, 0.25, math.inf], [1.0, -2.0, 0.5]])
    assert sequence_kl(kl=kl, mask=torch.tensor([[1, 1, 0], [1, 1, 1]])).tolist() == [0.75, -0.5]


def test_shapes_are_checked() -> None:
    with pytest.raises(DataError, match="shapes differ"):
        k1(logprobs=torch.zeros(2, 3), reference=torch.zeros(3))


@pytest.mark.parametrize(
    ("kl", "wanted"),
    [
        (6.0, 0.1),
        (6.6, 0.100064),  # error 0.1: 0.1 * (1 + 0.1 * 64 / 10000)
        (9.0, 0.100128),  # error 0.5, clipped to 0.2: 0.1 * (1 + 0.2 * 0.0064)
        (0.0, 0.099872),  # error -1, clipped to -0.2
    ],
)
def test_adapt_beta_by_hand(kl: float, wanted: float) -> None:
    assert adapt_beta(beta=0.1, kl=kl, target=6.0, episodes=64) == pytest.approx(wanted, rel=1e-14)


def test_adapt_beta_refuses_nonsense() -> None:
    with pytest.raises(ConfigError, match="target is 0"):
        adapt_beta(beta=0.1, kl=1, target=0, episodes=64)
    with pytest.raises(ConfigError, match="horizon above 20"):
        adapt_beta(beta=0.1, kl=1, target=6, episodes=100, horizon=20)
    with pytest.raises(TrainingDiverged, match="nan"):
        adapt_beta(beta=0.1, kl=math.nan, target=6, episodes=64)


def test_best_of_n_bound() -> None:
    assert best_of_n_kl_bound(1) == 0
    assert best_of_n_kl_bound(4) == pytest.approx(0.6362943611198906, rel=1e-14)  # 1.3862943611198906 - 0.75
    with pytest.raises(ConfigError, match="n = 0"):
        best_of_n_kl_bound(0)


@pytest.mark.parametrize("n", [2, 4, 16])
def test_best_of_n_bound_holds_and_is_met_by_many_equal_outcomes(n: int) -> None:
    # m equally likely outcomes of distinct reward: the best of n is the i-th with (i^n - (i-1)^n) / m^n
    for m in (3, 100, 100_000):
        i = torch.arange(1, m + 1, dtype=torch.float64)
        best = (i / m) ** n - ((i - 1) / m) ** n
        exact = torch.xlogy(best, best * m).sum().item()
        assert exact <= best_of_n_kl_bound(n) + 1e-9
    assert exact == pytest.approx(best_of_n_kl_bound(n), abs=1e-3)
