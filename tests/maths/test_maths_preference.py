"""Bradley-Terry by hand, and the K-wise loss against the mean over its pairs."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backflip.errors import ConfigError, DataError
from backflip.maths.preference import (
    bradley_terry_loss,
    pair_accuracy,
    pair_weights,
    preference_probability,
    ranking_loss,
)

F64 = torch.float64


def pairs_of(sizes: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Indices (better, worse, question) of all pairs of questions whose candidates stand from best to worst."""
    rows, start = [], 0
    for question, k in enumerate(sizes):
        rows += [(start + i, start + j, question) for i, j in itertools.combinations(range(k), 2)]
        start += k
    better, worse, question = torch.tensor(rows).unbind(1)
    return better, worse, question


def test_probability_by_hand() -> None:
    # difference ln 3: sigmoid 3/4; with a lapse of 0.1: 0.9 * 0.75 + 0.05 = 0.725
    better, worse = torch.tensor([math.log(3)], dtype=F64), torch.zeros(1, dtype=F64)
    assert preference_probability(better=better, worse=worse).item() == pytest.approx(0.75, rel=1e-15)
    assert preference_probability(better=better, worse=worse, lapse=0.1).item() == pytest.approx(0.725, rel=1e-15)


def test_loss_by_hand() -> None:
    # difference ln 3: -ln 0.75 preferred; a tie: -(ln 0.75 + ln 0.25) / 2; with a lapse of 0.1 0.725 and 0.275
    better, worse = torch.tensor([math.log(3)] * 2, dtype=F64), torch.zeros(2, dtype=F64)
    target = torch.tensor([1.0, 0.5], dtype=F64)
    for lapse, p in ((0.0, 0.75), (0.1, 0.725)):
        wanted = [-math.log(p), -(math.log(p) + math.log(1 - p)) / 2]
        args = {"better": better, "worse": worse, "target": target, "lapse": lapse}
        assert bradley_terry_loss(**args).item() == pytest.approx(sum(wanted) / 2, rel=1e-14)
        weight = torch.tensor([3.0, 0.5], dtype=F64)
        assert bradley_terry_loss(**args, weight=weight).item() == pytest.approx(
            3 * wanted[0] + wanted[1] / 2, rel=1e-14
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_scores_stay_finite(dtype: torch.dtype) -> None:
    # a difference of -1000 costs 1000 nats without lapse, and -ln(0.05) with one of 0.1
    better = torch.tensor([-1000.0], dtype=dtype, requires_grad=True)
    worse = torch.zeros(1, dtype=dtype)
    for lapse, wanted, slope in ((0.0, 1000.0, -1.0), (0.1, -math.log(0.05), 0.0)):
        loss = bradley_terry_loss(better=better, worse=worse, lapse=lapse)
        assert loss.dtype == dtype
        assert loss.item() == pytest.approx(wanted, rel=1e-6)
        assert torch.autograd.grad(loss, better)[0].item() == pytest.approx(slope, abs=1e-12)


@pytest.mark.parametrize("lapse", [0.0, 0.1])
def test_gradients(lapse: float) -> None:
    torch.manual_seed(0)
    scores = torch.randn(5, dtype=F64, requires_grad=True)
    better, worse, question = pairs_of([3, 2])
    weight = pair_weights(question=question, candidates=torch.tensor([3, 2]), dtype=F64)
    target = torch.tensor([1.0, 0.5, 1.0, 1.0], dtype=F64)
    assert torch.autograd.gradcheck(
        lambda s: ranking_loss(scores=s, better=better, worse=worse, weight=weight, target=target, lapse=lapse), scores
    )


def test_ranking_loss_by_hand() -> None:
    # K = 3, scores 2 > 1 > 0: (2 * 0.3132616875 + 0.1269280110) / 3 = 0.2511504620
    # K = 2, equal scores: ln 2 = 0.6931471806; the mean of both questions: 0.4721488213
    better, worse, question = pairs_of([3, 2])
    weight = pair_weights(question=question, candidates=torch.tensor([3, 2]), dtype=F64)
    assert weight.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2], rel=1e-15)
    scores = torch.tensor([2.0, 1.0, 0.0, 5.0, 5.0], dtype=F64)
    loss = ranking_loss(scores=scores, better=better, worse=worse, weight=weight)
    assert loss.item() == pytest.approx(0.4721488213, rel=1e-9)


@given(seed=st.integers(0, 2**31), sizes=st.lists(st.integers(2, 9), min_size=1, max_size=4))
@settings(deadline=None, max_examples=25)
def test_ranking_loss_is_the_mean_over_questions_of_the_mean_over_pairs(seed: int, sizes: list[int]) -> None:
    scores = torch.randn(sum(sizes), generator=torch.Generator().manual_seed(seed), dtype=F64)
    means = []
    for own in scores.split(sizes):
        losses = [math.log1p(math.exp(-(a - b))) for a, b in itertools.combinations(own.tolist(), 2)]
        means.append(sum(losses) / len(losses))
    better, worse, question = pairs_of(sizes)
    weight = pair_weights(question=question, candidates=torch.tensor(sizes), dtype=F64)
    loss = ranking_loss(scores=scores, better=better, worse=worse, weight=weight)
    assert loss.item() == pytest.approx(sum(means) / len(means), rel=1e-12)


def test_micro_batches_of_questions_add_up() -> None:
    sizes = [4, 2, 3]
    scores = torch.randn(9, generator=torch.Generator().manual_seed(1), dtype=F64)

    def loss(own: Tensor, sizes: list[int], total: int | None) -> float:
        better, worse, question = pairs_of(sizes)
        weight = pair_weights(question=question, candidates=torch.tensor(sizes), total=total, dtype=F64)
        return ranking_loss(scores=own, better=better, worse=worse, weight=weight).item()

    parts = loss(scores[:4], [4], 3) + loss(scores[4:], [2, 3], 3)
    assert parts == pytest.approx(loss(scores, sizes, None), rel=1e-14)


def test_dropped_ties_leave_the_other_pairs_weights_alone() -> None:
    # K = 3 with its last two tied: two pairs of 1/3 remain, not of 1/2
    weight = pair_weights(question=torch.tensor([0, 0]), candidates=torch.tensor([3]))
    assert weight.tolist() == pytest.approx([1 / 3, 1 / 3], rel=1e-6)


def test_a_batch_without_pairs() -> None:
    scores, none = torch.zeros(2, requires_grad=True), torch.zeros(0, dtype=torch.long)
    loss = ranking_loss(scores=scores, better=none, worse=none, weight=torch.zeros(0))
    assert loss == 0
    assert torch.autograd.grad(loss, scores)[0].tolist() == [0, 0]
    with pytest.raises(DataError, match="no pair"):
        bradley_terry_loss(better=torch.zeros(0), worse=torch.zeros(0))


def test_accuracy_by_hand() -> None:
    # right, wrong, equal scores (half), and a tie that does not count
    better, worse = torch.tensor([1.0, 0.0, 2.0, 9.0]), torch.tensor([0.0, 1.0, 2.0, 0.0])
    target = torch.tensor([1.0, 1.0, 1.0, 0.5])
    assert pair_accuracy(better=better, worse=worse, target=target) == 0.5
    # (2 * 1 + 1 * 0 + 1 * 0.5) / 4
    assert pair_accuracy(better=better, worse=worse, target=target, weight=torch.tensor([2.0, 1, 1, 7])) == 0.625
    assert pair_accuracy(better=better[3:], worse=worse[3:], target=target[3:]).isnan()


def test_malformed_input_is_refused() -> None:
    x = torch.zeros(2)
    with pytest.raises(ConfigError, match=r"lapse is 1\.0"):
        bradley_terry_loss(better=x, worse=x, lapse=1.0)
    with pytest.raises(DataError, match="shapes differ"):
        bradley_terry_loss(better=x, worse=x[:, None])
    with pytest.raises(DataError, match="has 1 candidates"):
        pair_weights(question=torch.tensor([0]), candidates=torch.tensor([1]))
