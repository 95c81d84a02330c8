"""Our decoder run is Transformers' own, for every family, packed or not, split or whole, saved or loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from backflip.errors import ModelError
from backflip.lm.backbone import (
    LADDERS,
    load_causal,
    load_classifier,
    load_tokenizer,
    random_trunk,
    save_causal,
    seed_everything,
)
from backflip.lm.packing import Tree, pack

FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "gpt2", "gpt_neox"]
TREES = [Tree((5, 6, 7), ((8, 9), (10, 11, 12))), Tree((13,), ((14, 15),)), Tree((), ((16, 17, 18, 19),))]


def paths(trees: list[Tree]) -> list[tuple[int, ...]]:
    return [(*tree.prompt, *response) for tree in trees for response in tree.responses]


@torch.no_grad()
def alone(folder: Path, text: tuple[int, ...]) -> Tensor:
    """The states (length, hidden) that Transformers itself computes for one text without padding."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    states: Tensor = model.base_model(torch.tensor([text])).last_hidden_state[0]
    return states


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("row_length", [0, 20])
def test_packed_states_are_those_of_each_text_alone(
    family_folder: Callable[[str], Path], family: str, row_length: int
) -> None:
    backbone, _ = load_causal(family_folder(family))
    assert backbone.is_ladder == (family in LADDERS)
    packed = pack(TREES, row_length=row_length)
    with torch.no_grad():
        states = backbone(packed).flatten(0, 1)
    tree, branch = packed.tree.flatten(), packed.branch.flatten()
    texts = iter(paths(TREES))
    for index, one in enumerate(TREES):
        for k in range(len(one.responses)):
            mine = (tree == index) & ((branch == 0) | (branch == k + 1))
            torch.testing.assert_close(states[mine], alone(family_folder(family), next(texts)), rtol=1e-4, atol=2e-5)


@torch.no_grad()
def test_left_padded_forward_of_transformers_equals_ours(tiny_folder: Path) -> None:
    # detail 11: position_ids = cumsum(mask) - mask
    texts = [(5, 6, 7, 8), (9, 10), (11,)]
    tokens = torch.tensor([[0] * (4 - len(t)) + list(t) for t in texts])
    mask = torch.tensor([[0] * (4 - len(t)) + [1] * len(t) for t in texts])
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    theirs = model(tokens, attention_mask=mask, position_ids=mask.cumsum(-1) - mask, logits_to_keep=1).logits[:, 0]
    backbone, head = load_causal(tiny_folder)
    packed = pack([Tree((), (t,)) for t in texts], row_length=4)
    ours = head(backbone(packed).flatten(0, 1)[packed.last])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", LADDERS)
@pytest.mark.parametrize("split", [0, 1, 2, 3])
@torch.no_grad()
def test_lower_then_upper_equals_whole(family_folder: Callable[[str], Path], family: str, split: int) -> None:
    backbone, _ = load_causal(family_folder(family))
    packed = pack(TREES, row_length=20)
    states = backbone(packed, lower=backbone.lower(packed, split), split=split)
    assert torch.equal(states, backbone(packed))


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_a_family_that_is_run_whole_cannot_be_split(family_folder: Callable[[str], Path], family: str) -> None:
    backbone, _ = load_causal(family_folder(family))
    with pytest.raises(ModelError, match="cannot be split"):
        backbone.lower(pack(TREES), 1)
    with pytest.raises(ModelError, match="set dropout to 0"):
        backbone.residual_dropout(0.1)


@torch.no_grad()
def test_first_layers_are_those_of_the_whole_model(family_folder: Callable[[str], Path]) -> None:
    folder = family_folder("llama")
    backbone, _ = load_causal(folder)
    packed = pack(TREES)
    below = backbone.lower(packed, 2)
    backbone.keep_layers(2)
    assert backbone.depth == 2
    assert torch.equal(backbone(packed), backbone.trunk.norm(below))
    backbone.keep_layers(0)
    assert backbone.depth == 2
    with pytest.raises(ModelError, match="first 3 layers of a model with 2"):
        backbone.keep_layers(3)


def test_residual_dropout_only_in_training(tiny_folder: Path) -> None:
    backbone, _ = load_causal(tiny_folder)
    plain = backbone(pack(TREES))
    seen: list[tuple[Tensor, Tensor]] = []
    mlp = backbone.layers[0].mlp
    backbone.residual_dropout(0.25)
    # a hook that runs before ours sees the output undropped, one that runs after it dropped
    whole: list[Tensor] = []
    mlp.register_forward_hook(lambda _m, _i, out: whole.append(out), prepend=True)
    mlp.register_forward_hook(lambda _m, _i, out: seen.append((whole.pop(), out)))
    assert torch.equal(backbone(pack(TREES)), plain)
    seed_everything(0)
    backbone.train()
    assert backbone(pack(TREES * 30)).isfinite().all()
    before, after = seen[-1]
    kept = after != 0
    assert 0.7 < kept[before != 0].float().mean().item() < 0.8
    torch.testing.assert_close(after[kept], before[kept] / 0.75)  # what stays is scaled up: the expectation is kept


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_saved_causal_model_is_an_ordinary_folder(
    family_folder: Callable[[str], Path], family: str, tmp_path: Path
) -> None:
    backbone, head = load_causal(family_folder(family))
    for parameter in backbone.parameters():
        parameter.add_(0.01)
    save_causal(tmp_path, backbone, head, load_tokenizer(family_folder(family)))
    packed = pack([Tree((5, 6), ((7, 8),))])
    ours = head(backbone(packed))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)(packed.tokens).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template


def test_random_trunk_depends_on_its_seed_alone(tiny_folder: Path) -> None:
    before = torch.get_rng_state()
    first, again, other = (random_trunk(tiny_folder, seed=s, layers=1) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.depth == 1
    one, two, three = (trunk.layers[0].mlp.up_proj.weight for trunk in (first, again, other))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    loaded, _ = load_causal(tiny_folder)
    assert one.shape == loaded.layers[0].mlp.up_proj.weight.shape


@pytest.mark.parametrize("load", [load_causal, load_classifier])
def test_a_missing_model_is_one_clear_error(load: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="wanted a Transformers folder"):
        load(tmp_path / "nothing")


def test_a_classifier_of_two_labels_is_no_reward_model(tiny_folder: Path, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(tiny_folder, num_labels=2)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="has 2 labels"):
        load_classifier(tmp_path)


def test_damaged_weights_are_a_clear_error(tiny_folder: Path, tmp_path: Path) -> None:
    for file in tiny_folder.iterdir():
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content[:100] if file.suffix == ".safetensors" else content)
    with pytest.raises(ModelError, match="no causal language model could be loaded"):
        load_causal(tmp_path)


def _with(tiny_folder: Path, folder: Path, **changes: Any) -> Path:
    """The tiny model under another configuration."""
    shutil.copytree(tiny_folder, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def test_unsupported_logits_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="final_logit_softcapping"):
        load_causal(_with(tiny_folder, tmp_path / "capped", final_logit_softcapping=30.0))


def test_scaled_logits_are_refused_where_they_are_scaled(tiny_folder: Path, tmp_path: Path) -> None:
    load_causal(_with(tiny_folder, tmp_path / "one", logits_scaling=1.0))
    with pytest.raises(ModelError, match=r"logits_scaling in config\.json is not supported"):
        load_causal(_with(tiny_folder, tmp_path / "eight", logits_scaling=8.0))


@pytest.mark.parametrize(
    ("family", "changes", "window"),
    [
        ("mistral", {"sliding_window": 6}, 6),
        ("mistral", {"sliding_window": None}, 0),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 0, "layer_types": None}, 6),
        ("qwen2", {"use_sliding_window": False, "sliding_window": 6, "layer_types": None}, 0),
    ],
)
def test_a_text_beyond_a_sliding_window_is_refused(
    family_folder: Callable[[str], Path], tmp_path: Path, family: str, changes: dict[str, Any], window: int
) -> None:
    folder = _with(family_folder(family), tmp_path / family, **changes)
    backbone, _ = load_causal(folder)
    assert backbone.window == window
    with torch.no_grad():
        states = backbone(pack([Tree((), (tuple(range(5, 11)),))]))[0]  # as long as the window: all is seen
        torch.testing.assert_close(states, alone(folder, tuple(range(5, 11))), rtol=1e-4, atol=2e-5)
        longer = pack([Tree((), (tuple(range(5, 12)),))])
        if not window:
            backbone(longer)
            return
        with pytest.raises(ModelError, match="a text of 7 tokens is longer than the sliding window"):
            backbone(longer)


def test_a_biased_vocabulary_head_is_refused(tmp_path: Path) -> None:
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    AutoModelForCausalLM.from_config(AutoConfig.for_model("phi", vocab_size=16, **shape, **ids)).save_pretrained(
        tmp_path
    )
    with pytest.raises(ModelError, match="head has a bias"):
        load_causal(tmp_path)
