"""Training in less memory gives the very numbers of ordinary training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backflip.errors import ModelError
from backflip.lm.backbone import load_causal, load_tokenizer
from backflip.lm.heads import Scalar, trainable
from backflip.lm.lean import SeenRows, seen_rows, step_in_backward
from backflip.lm.optim import adam
from backflip.lm.packing import Tree, pack

FIRST, SECOND = Tree((20, 21, 22), ((8, 9, 2), (10, 0), (12,))), Tree((30, 21), ((8, 31), (0, 2)))
UNSEEN = Tree((40, 41), ((42, 8), (43,)))


def fresh(folder: Path) -> Scalar:
    return Scalar.on_trunk(load_causal(folder)[0], load_tokenizer(folder), seed=3)


def trained(model: Scalar, *, at_once: bool = False) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Three updates of two passes each; the norms, and the weights after."""
    parameters, norms = trainable([model]), []
    optimiser = adam(parameters, rate=1e-2)
    for _ in range(3):
        optimiser.zero_grad(set_to_none=True)
        model.rewards(pack([FIRST])).sum().backward()
        loss = model.rewards(pack([SECOND])).square().sum()
        if at_once:
            norms.append(step_in_backward(loss, parameters, optimiser))
            assert all(parameter.grad is None for parameter in parameters)
        else:
            loss.backward()
            norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])))
            optimiser.step()
    return norms, {name: value.clone() for name, value in model.state_dict().items()}


def same(ours: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-6)


def test_seen_rows_alone_are_as_the_whole_table(tiny_folder: Path) -> None:
    whole, lean = fresh(tiny_folder), fresh(tiny_folder)
    table = lean.backbone.trunk.embed_tokens
    assert table.padding_idx in {t for r in FIRST.responses for t in r}  # as in nn.Embedding its row stays
    norms, weights = trained(whole)
    with seen_rows(lean.backbone.trunk, [FIRST, SECOND]):
        rows = lean.backbone.trunk.embed_tokens
        assert isinstance(rows, SeenRows)
        assert rows.rows.shape[0] == len({20, 21, 22, 8, 9, 2, 10, 12, 30, 31, 0} - {table.padding_idx})
        assert trained(lean)[0] == pytest.approx(norms, rel=1e-5)
        seen = lean.rewards(pack([FIRST, UNSEEN])).detach()  # held-out texts have tokens that no other has
    assert lean.backbone.trunk.embed_tokens is table
    assert table.weight.requires_grad
    same(dict(lean.state_dict()), weights)
    torch.testing.assert_close(seen, whole.rewards(pack([FIRST, UNSEEN])).detach())


def test_a_frozen_table_is_left_alone(tiny_folder: Path) -> None:
    model = fresh(tiny_folder)
    model.adapt(rank=2, layers=1, alpha=4.0)
    table = model.backbone.trunk.embed_tokens
    with seen_rows(model.backbone.trunk, [FIRST]):
        assert model.backbone.trunk.embed_tokens is table


def test_steps_in_backward_are_steps_after_it(tiny_folder: Path) -> None:
    norms, weights = trained(fresh(tiny_folder))
    ours = trained(fresh(tiny_folder), at_once=True)
    assert ours[0] == pytest.approx(norms, rel=1e-5)
    same(ours[1], weights)


def test_a_parameter_that_the_last_pass_does_not_reach_is_stepped_too() -> None:
    early, late = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    optimiser = torch.optim.SGD([early, late], lr=0.5)
    (3 * early).sum().backward()
    norm = step_in_backward((4 * late).sum(), [early, late], optimiser)
    assert (early.item(), late.item(), norm) == (-0.5, -1.0, pytest.approx(5.0))  # 1 - 0.5 * 3, 1 - 0.5 * 4


def test_layers_computed_again_change_nothing(tiny_folder: Path) -> None:
    norms, weights = trained(fresh(tiny_folder))
    again = fresh(tiny_folder)
    again.backbone.compute_again()
    ours = trained(again)
    assert ours[0] == norms
    assert all(torch.equal(ours[1][name], value) for name, value in weights.items())


def test_families_without_known_layers_are_refused(family_folder: object) -> None:
    backbone, _ = load_causal(family_folder("gpt2"))  # type: ignore[operator]
    with pytest.raises(ModelError, match="leave recompute out"):
        backbone.compute_again()
