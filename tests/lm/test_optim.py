"""Schedules and averages by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from backflip.errors import TrainingDiverged
from backflip.lm.optim import EMA, adam, clip_gradients, constant, cosine, linear_to_zero, set_rate


def test_cosine_falls_to_a_tenth_without_warm_up() -> None:
    schedule = cosine(4)
    # 0.1 + 0.9 * (1 + cos(pi u / 4)) / 2 at u = 0, 2, 4 and beyond
    assert [schedule(u) for u in (0, 2, 4, 9)] == pytest.approx([1.0, 0.55, 0.1, 0.1], abs=1e-12)
    assert schedule(1) == pytest.approx(0.1 + 0.45 * (1 + math.sqrt(0.5)), abs=1e-12)


def test_constant_after_warm_up_from_a_tenth() -> None:
    schedule = constant(warmup=10)
    assert [schedule(u) for u in (0, 5, 10, 99)] == pytest.approx([0.1, 0.55, 1.0, 1.0])
    assert constant(warmup=0)(0) == 1.0


def test_linear_to_zero() -> None:
    assert [linear_to_zero(4)(u) for u in (0, 1, 4, 5)] == [1.0, 0.75, 0.0, 0.0]


def test_adams_first_step_by_hand() -> None:
    # bias-corrected first moments: m = g = 3, v = g^2 = 9; the step is rate * 3 / (3 + 1e-5)
    weight = nn.Parameter(torch.tensor([1.0]))
    optimiser = adam([weight], rate=0.5)
    weight.grad = torch.tensor([3.0])
    optimiser.step()
    assert weight.item() == pytest.approx(1.0 - 0.5 * 3 / (3 + 1e-5), abs=1e-6)
    assert optimiser.defaults["betas"] == (0.9, 0.95)
    set_rate(optimiser, 0.25)
    assert [group["lr"] for group in optimiser.param_groups] == [0.25]


def test_clip_returns_the_norm_before() -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients([weight], 1.0) == pytest.approx(5.0)
    assert weight.grad.norm().item() == pytest.approx(1.0, abs=1e-5)


def test_a_nan_gradient_is_refused() -> None:
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.tensor([math.nan])
    with pytest.raises(TrainingDiverged, match="the policy's norm is nan"):
        clip_gradients([weight], 1.0, what="policy")


def test_moving_average_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([0.0]))
    ema = EMA([weight], 0.75)
    for value in (4.0, 8.0):
        weight.data.fill_(value)
        ema.update()
    # 0 -> 0.25 * 4 = 1 -> 0.75 * 1 + 0.25 * 8 = 2.75
    assert ema.state()[0].item() == pytest.approx(2.75)
    with ema.applied():
        assert weight.item() == pytest.approx(2.75)
    assert weight.item() == 8.0
    other = EMA([nn.Parameter(torch.zeros(1))], 0.75)
    other.load(ema.state())
    assert torch.equal(other.state()[0], ema.state()[0])


def test_no_average_without_decay() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    ema = EMA([weight], 0.0)
    ema.update()
    with ema.applied():
        assert weight.item() == 1.0
    assert ema.state() == []
