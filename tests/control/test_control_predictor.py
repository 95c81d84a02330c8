"""The ensemble against a slow version, its bootstrap and hold-out, adaptive L2, normalisation, and what it learns."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from backflip.control.members import MANY, ConvolutionalMembers, DenseMembers
from backflip.control.predictor import Comparisons, Ensemble, PredictorSettings, adapted, bootstrap_counts
from backflip.control.segments import Segment
from backflip.control.spaces import Space
from backflip.errors import ConfigError, DataError
from backflip.maths.preference import bradley_terry_loss

SPACE = Space("Point", (2,), 1)


def _comparisons(answers: int, *, seed: int = 0, steps: int = 5, flip: bool = False) -> Comparisons:
    """The clip with the greater sum of its first feature is better."""
    draw = torch.Generator().manual_seed(seed)
    seen = torch.randn(answers, 2, steps, 2, generator=draw)
    acted = torch.randn(answers, 2, steps, 1, generator=draw)
    first = seen[:, 0, :, 0].sum(1) > seen[:, 1, :, 0].sum(1)
    return Comparisons(seen, acted, (first != flip).float(), tuple(f"{seed}-{i}" for i in range(answers)))


@torch.no_grad()
def _slow_member(net: DenseMembers, member: int, x: Tensor) -> Tensor:
    for layer in net.layers[:-1]:
        x = leaky_relu(x @ layer.weight[member] + layer.bias[member, 0], 0.01)  # type: ignore[index,operator]
    last = net.layers[-1]
    return (x @ last.weight[member] + last.bias[member, 0]).squeeze(-1)  # type: ignore[index,operator]


def test_members_side_by_side_are_the_members_one_by_one() -> None:
    torch.manual_seed(0)
    net, x = DenseMembers(3, 4, 8), torch.randn(7, 4)
    for member, row in enumerate(net(x)):
        torch.testing.assert_close(row, _slow_member(net, member, x))


def test_a_member_by_itself_is_its_share_of_the_batched_product_and_so_are_all_gradients() -> None:
    torch.manual_seed(0)
    net = DenseMembers(3, 15, 64)
    x = torch.randn(MANY, 15, requires_grad=True)
    weight = torch.randn(3, MANY)
    found = []
    for way in (net.batched, net):
        net.zero_grad()
        x.grad = None
        out = way(x)
        (out * weight).sum().backward()
        grads = [p.grad for p in net.parameters()]
        found.append([out.detach(), x.grad, *(g for g in grads if g is not None)])
    assert [len(f) for f in found] == [8, 8]
    for slow, fast in zip(*found, strict=True):
        assert slow is not None
        torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-4)


def test_a_step_leaves_out_what_is_held_out_and_is_the_step_that_looks_at_all() -> None:
    data = _comparisons(40)
    ensemble = Ensemble(SPACE, PredictorSettings(hidden=8), seed=0)
    read = ensemble._inputs(data, fresh=True)
    picked = torch.arange(30)
    ensemble._loss(read, picked).backward()
    lean = [p.grad.clone() for p in ensemble.net.parameters()]
    ensemble.net.zero_grad()
    first, second = ensemble._both(read, picked)
    counts = read.counts[:, picked]
    assert (counts == 0).any()
    bradley_terry_loss(
        better=first,
        worse=second,
        target=read.target[picked].expand_as(first),
        weight=counts / counts.sum(dim=1, keepdim=True),
        lapse=0.1,
    ).backward()
    for mine, whole in zip(lean, (p.grad for p in ensemble.net.parameters()), strict=True):
        torch.testing.assert_close(mine, whole, rtol=1e-4, atol=1e-6)


def test_convolutional_members_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    net = ConvolutionalMembers(2, (4, 84, 84), 3).eval()
    pictures, actions = torch.randint(256, (2, 4, 84, 84), dtype=torch.uint8), torch.eye(3)[:2]
    before = net(pictures, actions)
    with torch.no_grad():
        for weight in net.member_weights():
            weight[1] += 0.1
    after = net(pictures, actions)
    torch.testing.assert_close(after[0], before[0])
    assert not torch.allclose(after[1], before[1])


def test_the_loss_is_bradley_terry_of_summed_rewards_over_each_members_bootstrap() -> None:
    data = _comparisons(12)
    data = replace(data, target=torch.tensor([1.0, 0.0, 0.5] * 4))
    ensemble = Ensemble(SPACE, PredictorSettings(members=3, lapse=0.1), seed=4)
    ensemble.look.see(data.observations.flatten(0, 2))
    counts = bootstrap_counts(data.keys, members=3, seed=4)
    train, held, _ = ensemble.losses(data)
    for member in range(3):
        sums = [[0.0, 0.0] for _ in range(12)]
        for i in range(12):
            for side in range(2):
                for step in range(5):
                    x = torch.cat(
                        [ensemble.look(data.observations[i, side, step]), data.actions[i, side, step].clamp(-1, 1)]
                    )
                    sums[i][side] += float(_slow_member(ensemble.net, member, x[None]))  # type: ignore[arg-type]
        losses = []
        for i in range(12):
            first = 0.9 / (1 + math.exp(sums[i][1] - sums[i][0])) + 0.05
            target = float(data.target[i])
            losses.append(-target * math.log(first) - (1 - target) * math.log(1 - first))
        weights = counts[member].tolist()
        slow = sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights)
        out = [x for w, x in zip(weights, losses, strict=True) if w == 0]
        assert float(train[member]) == pytest.approx(slow, rel=1e-4)
        assert float(held[member]) == pytest.approx(sum(out) / len(out), rel=1e-4)


def test_bootstrap_and_hold_out_are_disjoint_stable_and_a_third() -> None:
    keys = [f"answer {i}" for i in range(2000)]
    counts = bootstrap_counts(keys, members=3, seed=1)
    held = (counts == 0).float().mean(dim=1)
    # P(0) of Poisson(1) is 1/e = 0.368; its deviation over 2000 answers is 0.011, that of the mean count 0.022.
    torch.testing.assert_close(held, torch.full((3,), 1 / math.e), atol=0.04, rtol=0)
    torch.testing.assert_close(counts.mean(dim=1), torch.ones(3), atol=0.08, rtol=0)
    assert not torch.equal(counts[0], counts[1])
    assert torch.equal(bootstrap_counts(keys[500:600], members=3, seed=1), counts[:, 500:600])  # as answers come in
    assert not torch.equal(bootstrap_counts(keys, members=3, seed=2), counts)


def test_l2_follows_the_ratio_of_held_out_and_training_loss() -> None:
    l2 = torch.tensor([1e-3, 1e-3, 1e-3, 1e-3])
    # Below 1.1 it falls, within 1.1..1.5 it stays, above it rises, and NaN (nothing held out) leaves it.
    found = adapted(l2, torch.tensor([1.0, 1.3, 1.6, math.nan]), (1.1, 1.5))
    torch.testing.assert_close(found, torch.tensor([1e-3 / 1.25, 1e-3, 1.25e-3, 1e-3]))


def test_each_member_is_normalised_and_then_they_are_averaged() -> None:
    ensemble = Ensemble(SPACE, PredictorSettings(std=0.05), seed=0)
    with torch.no_grad():
        ensemble.net.layers[-1].weight[0] *= 100  # type: ignore[index,operator,union-attr]
    seen, acted = torch.randn(40, 6, 2), torch.randn(40, 6, 1)
    ensemble.normalise(seen, acted)
    raw = torch.stack([_slow_member(ensemble.net, m, torch.cat([seen, acted.clamp(-1, 1)], -1)) for m in range(3)])  # type: ignore[arg-type]
    each = (raw - raw.mean(dim=(1, 2), keepdim=True)) / raw.std(dim=(1, 2), unbiased=False, keepdim=True)
    found = ensemble.rewards(seen, acted)
    assert found.shape == (40, 6)
    torch.testing.assert_close(found, 0.05 * each.mean(dim=0), rtol=1e-3, atol=1e-5)


def test_it_learns_what_is_preferred_from_noisy_answers() -> None:
    data = _comparisons(200)
    wrong = torch.rand(200, generator=torch.Generator().manual_seed(1)) < 0.1
    data = replace(data, target=torch.where(wrong, 1 - data.target, data.target))
    ensemble = Ensemble(SPACE, PredictorSettings(), seed=0)
    metrics = ensemble.fit(data, steps=150)
    fresh = _comparisons(300, seed=9)
    sums = ensemble.sums(fresh.observations.flatten(0, 1), fresh.actions.flatten(0, 1)).mean(dim=0).view(-1, 2)
    right = ((sums[:, 0] > sums[:, 1]) == (fresh.target > 0.5)).float().mean()
    assert right > 0.9
    assert metrics["predictor/held_out_accuracy"] > 0.7  # a tenth is wrong by itself
    assert metrics["predictor/answers"] == 200


def test_scores_can_be_fitted_in_place_of_comparisons() -> None:
    data = _comparisons(150)
    scores = 40 + 3 * data.observations[..., 0].sum(dim=-1)  # of any scale
    data = replace(data, scores=scores)
    ensemble = Ensemble(SPACE, PredictorSettings(target="scores"), seed=2)
    ensemble.fit(data.join(data).last(150), steps=300)
    told = ensemble.sums(data.observations[:, 0], data.actions[:, 0]).mean(dim=0)
    assert float(torch.corrcoef(torch.stack([told, scores[:, 0]]))[0, 1]) > 0.9
    # the mean squared error of every clip, by hand
    read = ensemble._inputs(data)
    wanted = (scores - scores.mean()) / scores.std()
    sums = torch.stack([ensemble.sums(data.observations[:, side], data.actions[:, side])[0] for side in (0, 1)], dim=1)
    error = (sums - wanted).square().mean(dim=1)
    held, _, _ = ensemble.losses(data)
    expected = (error * read.counts[0]).sum() / read.counts[0].sum()
    torch.testing.assert_close(held[0], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="without scores"):
        ensemble.fit(_comparisons(5), steps=1)


def test_without_l2_there_is_none_ever() -> None:
    ensemble = Ensemble(SPACE, PredictorSettings(l2=0), seed=0)
    assert ensemble.fit(_comparisons(20), steps=60)["predictor/l2"] == 0
    assert (ensemble.l2 == 0).all()


def test_contradictory_answers_alone_teach_nothing() -> None:
    one, other = _comparisons(40), _comparisons(40, flip=True)
    both = one.join(replace(other, keys=tuple(f"again {k}" for k in other.keys)))
    ensemble = Ensemble(SPACE, PredictorSettings(), seed=0)
    metrics = ensemble.fit(both, steps=100)
    assert metrics["predictor/loss"] > 0.5  # a coin's is 0.693; each member's bootstrap is a little lopsided
    assert all(np.isfinite(list(metrics.values())))


def test_a_checkpoint_goes_on_bit_by_bit() -> None:
    data = _comparisons(30)
    ensemble, other = (Ensemble(SPACE, PredictorSettings(), seed=0) for _ in range(2))
    ensemble.fit(data, steps=10)
    other.restore(deepcopy(ensemble.state()))
    assert ensemble.fit(data, steps=10) == other.fit(data, steps=10)
    seen, acted = data.observations[:, 0], data.actions[:, 0]
    assert torch.equal(ensemble.rewards(seen, acted), other.rewards(seen, acted))


def test_clips_of_other_lengths_and_bad_settings_are_refused() -> None:
    def clip(steps: int) -> Segment:
        return Segment("Point", np.zeros((steps, 2), np.float32), np.zeros((steps, 1), np.float32), None)

    with pytest.raises(DataError, match=r"\[4, 5\] steps long"):
        Comparisons.of([(clip(4), clip(5), 1.0, "a")])
    with pytest.raises(DataError, match="none"):
        Comparisons.of([])
    with pytest.raises(ConfigError, match="lapse"):
        PredictorSettings(lapse=1.0)
    with pytest.raises(ConfigError, match="kinematics are known for Hopper-v5 alone"):
        Ensemble(SPACE, PredictorSettings(look="kinematics"), seed=0)


def test_angles_are_read_as_a_circle_and_the_hoppers_links_by_height() -> None:
    space = Space("Hopper-v5", (11,), 3, angles=(1,))
    ensemble = Ensemble(space, PredictorSettings(look="kinematics"), seed=0)
    seen = torch.randn(2, 4, 11) * 0.1
    seen[..., 0] += 1.25
    turned = seen.clone()
    turned[..., 1] -= 20 * math.pi
    acted = torch.zeros(2, 4, 3)
    torch.testing.assert_close(ensemble.rewards(seen, acted), ensemble.rewards(turned, acted), rtol=1e-3, atol=1e-5)
