"""Masked means, whitening and running moments, by hand and against torch on the unpadded entries."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backflip.errors import DataError, TrainingDiverged
from backflip.maths.moments import RunningMoments, gain_and_bias, masked_mean, masked_sum, masked_var, whiten

X = torch.tensor([[1.0, 3.0], [5.0, math.nan]], dtype=torch.float64)
MASK = torch.tensor([[1, 1], [1, 0]])
floats = st.lists(st.floats(-1e3, 1e3, width=32), max_size=20)


def test_masked_moments_by_hand_with_a_nan_at_padding() -> None:
    # mean (1 + 3 + 5) / 3 = 3; variance (4 + 0 + 4) / 3
    assert masked_sum(X, MASK) == 9
    assert masked_mean(X, MASK) == 3
    assert masked_var(X, MASK).item() == pytest.approx(8 / 3, rel=1e-15)
    assert masked_sum(X, MASK, dim=1).tolist() == [4, 5]
    assert masked_mean(X, MASK, dim=0).tolist() == [3, 3]


def test_a_mean_over_nothing_is_nan() -> None:
    assert masked_mean(X, torch.zeros_like(MASK)).isnan()


def test_whiten_by_hand() -> None:
    # deviations -2, 0, 2 over sqrt(8/3) = 1.632993: -1.224745, 0, 1.224745; the padding is 0
    wanted = torch.tensor([[-1.224744871, 0.0], [1.224744871, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(whiten(X, MASK), wanted, rtol=1e-8, atol=0)
    kept = torch.where(MASK.bool(), wanted + 3, 0.0)
    torch.testing.assert_close(whiten(X, MASK, shift_mean=False), kept, rtol=1e-8, atol=0)


def test_whitening_equal_values_is_finite() -> None:
    assert whiten(torch.full((1, 3), 7.0), torch.ones(1, 3)).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    assert whiten(X.to(dtype), MASK).dtype == dtype


def test_gradients_pass_and_stop_at_padding() -> None:
    x = torch.tensor([[0.3, -1.0, 2.0], [0.5, 9.0, 9.0]], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    assert torch.autograd.gradcheck(lambda x: (masked_var(x, mask), whiten(x, mask)), x)
    dirty = torch.where(mask.bool(), x.detach(), math.nan).requires_grad_()
    for function in (masked_mean, masked_var, lambda x, mask: whiten(x, mask, shift_mean=False)[0, 0]):
        (clean,), (grad,) = (torch.autograd.grad(function(y, mask), y) for y in (x, dirty))
        assert grad[1, 1:].tolist() == [0, 0]
        assert torch.equal(grad, clean)


@given(st.lists(floats, max_size=5))
@settings(deadline=None, max_examples=50)
def test_running_moments_equal_those_of_the_whole(parts: list[list[float]]) -> None:
    whole = torch.tensor([x for part in parts for x in part], dtype=torch.float64)
    moments = RunningMoments()
    for part in parts:
        moments = moments.update(torch.tensor(part, dtype=torch.float64))
    assert moments.count == len(whole)
    if len(whole):
        assert moments.mean == pytest.approx(whole.mean().item(), rel=1e-12, abs=1e-10)
        assert moments.var == pytest.approx(whole.var(unbiased=False).item(), rel=1e-10, abs=1e-10)


def test_running_moments_are_exact_far_from_zero() -> None:
    # 1e9 + {0, 1, 2}: variance 2/3, which mean(x^2) - mean(x)^2 loses even in double precision
    moments = RunningMoments.of(torch.tensor([1e9], dtype=torch.float64))
    moments = moments.update(torch.tensor([1e9 + 1, 1e9 + 2], dtype=torch.float64))
    assert moments.var == pytest.approx(2 / 3, rel=1e-9)


def test_running_moments_mask_state_and_nan() -> None:
    moments = RunningMoments().update(X, MASK)
    assert (moments.count, moments.mean, moments.squares) == (3, 3.0, 8.0)
    assert RunningMoments(**json.loads(json.dumps(moments.state()))) == moments
    with pytest.raises(TrainingDiverged, match="1 of 4"):
        moments.update(X)


def test_normalise_to_the_papers_deviation() -> None:
    x = torch.tensor([1.0, 3.0, 5.0], dtype=torch.float64)
    y = RunningMoments.of(x).normalise(x, std=0.05)
    assert y.mean().item() == pytest.approx(0, abs=1e-15)
    assert y.std(unbiased=False).item() == pytest.approx(0.05, rel=1e-8)
    kept = RunningMoments.of(x).normalise(x, shift_mean=False)
    torch.testing.assert_close(kept, x / math.sqrt(8 / 3), rtol=1e-8, atol=0)
    assert RunningMoments().normalise(x) is x


def test_gain_and_bias_by_hand() -> None:
    # scores 1, 5: mean 3, deviation 2: gain 1/2, bias -3/2
    assert gain_and_bias(torch.tensor([1.0, 5.0])) == (0.5, -1.5)
    assert gain_and_bias(torch.tensor([1.0, 5.0]), mean=1, std=4) == (2, -5)


@pytest.mark.parametrize("scores", [[], [0.1, 0.1, 0.1], [0.0, 0.0]])
def test_no_scale_to_read_is_refused(scores: list[float]) -> None:
    with pytest.raises(DataError, match=f"{len(scores)} scores"):
        gain_and_bias(torch.tensor(scores))
