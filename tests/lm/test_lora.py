"""An adapter that is off, new, merged or folded changes what it should and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from backflip.errors import ConfigError
from backflip.lm.heads import Causal, trainable
from backflip.lm.lora import LoRALinear, adapters, adapters_off, fold, merged
from backflip.lm.packing import Tree, pack

PACKED = pack([Tree((5, 6, 7), ((8, 9), (10, 11, 12))), Tree((13,), ((14, 15),))], row_length=12)


def adapted(folder: Path, *, layers: int = 0, dropout: float = 0.0) -> Causal:
    """A model whose adapters do something (B is not zero)."""
    model = Causal.load(folder)
    torch.manual_seed(0)
    model.adapt(rank=3, layers=layers, alpha=6.0, dropout=dropout)
    for adapter in adapters(model):
        nn.init.normal_(adapter.lora_b, std=0.3)
    return model


@torch.no_grad()
def logprobs(model: Causal, *, reference: bool = False) -> Tensor:
    return model.scores(PACKED, reference=reference).logprobs


def test_by_hand() -> None:
    # W x = 2 * 3 = 6; (alpha / rank) B A x = (4 / 1) * 0.5 * 0.1 * 3 = 0.6
    base = nn.Linear(1, 1, bias=False)
    nn.init.constant_(base.weight, 2.0)
    layer = LoRALinear(base, rank=1, alpha=4.0, dropout=0.0)
    nn.init.constant_(layer.lora_a, 0.1)
    x = torch.tensor([[3.0]])
    assert layer(x).item() == 6.0  # B starts at zero
    nn.init.constant_(layer.lora_b, 0.5)
    assert layer(x).item() == pytest.approx(6.6)
    assert layer.delta().item() == pytest.approx(0.2)


def test_off_is_the_base_to_the_bit(tiny_folder: Path) -> None:
    base, model = Causal.load(tiny_folder), adapted(tiny_folder)
    assert torch.equal(logprobs(model, reference=True), logprobs(base))
    with adapters_off(model):
        assert torch.equal(logprobs(model), logprobs(base))
    assert not torch.allclose(logprobs(model), logprobs(base), atol=1e-3)  # and on again after


def test_new_adapters_change_nothing(tiny_folder: Path) -> None:
    model = Causal.load(tiny_folder)
    model.adapt(rank=2, layers=0, alpha=4.0)
    torch.testing.assert_close(logprobs(model), logprobs(Causal.load(tiny_folder)), rtol=0, atol=0)


def test_merged_equals_unmerged_and_leaves_no_trace(tiny_folder: Path) -> None:
    model = adapted(tiny_folder)
    before, names = logprobs(model), list(model.state_dict())
    with merged(model):
        torch.testing.assert_close(logprobs(model), before, rtol=1e-4, atol=1e-5)
        assert list(model.state_dict()) == names
        assert torch.equal(logprobs(model, reference=True), logprobs(Causal.load(tiny_folder)))
    assert torch.equal(logprobs(model), before)


def test_folded_and_saved_models_have_the_same_logits(tiny_folder: Path, tmp_path: Path) -> None:
    model = adapted(tiny_folder, layers=1)
    before = logprobs(model)
    model.backbone.eval()
    packed = pack([Tree((5, 6), ((7, 8, 9),))])
    with torch.no_grad():
        logits = model.head(model.backbone(packed))
        model.save(tmp_path)
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path)(packed.tokens).logits
    torch.testing.assert_close(loaded, logits, rtol=1e-4, atol=1e-5)
    fold(model)
    assert not adapters(model)
    torch.testing.assert_close(logprobs(model), before, rtol=1e-4, atol=1e-5)


def test_only_the_upper_layers_are_adapted_and_trained(tiny_folder: Path) -> None:
    model = adapted(tiny_folder, layers=1)
    assert model.split == 1
    assert not adapters(model.backbone.layers[0])
    assert len(adapters(model.backbone.layers[1])) == 7  # q k v o, gate up down
    assert {id(p) for p in trainable([model])} == {id(p) for a in adapters(model) for p in (a.lora_a, a.lora_b)}


def test_shared_lower_layers_give_the_same_policy_and_reference(tiny_folder: Path) -> None:
    model = adapted(tiny_folder, layers=1)
    lower = model.backbone.lower(PACKED, model.split)
    with torch.no_grad():
        for reference in (False, True):
            shared = model.scores(PACKED, lower=lower, reference=reference).logprobs
            assert torch.equal(shared, logprobs(model, reference=reference))


def test_gradients_are_those_of_the_folded_weight(tiny_folder: Path) -> None:
    # with y = (W + s B A) x: dL/dB = s dL/dW' A^T and dL/dA = s B^T dL/dW'
    model, whole = adapted(tiny_folder), adapted(tiny_folder)
    fold(whole)
    whole.requires_grad_(True)
    for one in (model, whole):
        one.scores(PACKED).logprobs.sum().backward()
    linears = dict(whole.named_modules())
    for name, module in model.named_modules():
        if isinstance(module, LoRALinear):
            slope = linears[name].weight.grad
            torch.testing.assert_close(module.lora_b.grad, module.scale * slope @ module.lora_a.T, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(module.lora_a.grad, module.scale * module.lora_b.T @ slope, rtol=1e-3, atol=1e-4)


def test_dropout_only_in_training(tiny_folder: Path) -> None:
    model = adapted(tiny_folder, dropout=0.5)
    model.eval()
    assert torch.equal(logprobs(model), logprobs(adapted(tiny_folder).eval()))
    model.train()
    assert not torch.allclose(logprobs(model), logprobs(model))


def test_more_layers_than_there_are(tiny_folder: Path) -> None:
    with pytest.raises(ConfigError, match="this model has 2"):
        Causal.load(tiny_folder).adapt(rank=2, layers=3, alpha=4.0)
