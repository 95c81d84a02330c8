"""Packed scores, rewards, values and gradients are those of each text alone, computed by Transformers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from backflip.lm.backbone import load_causal, load_tokenizer
from backflip.lm.heads import Causal, Scalar, trainable
from backflip.lm.packing import Tree, pack

DEMONSTRATIONS = [Tree((5, 6, 7), ((8, 9, 2),)), Tree((13,), ((14, 15),)), Tree((), ((16, 17, 18, 19),))]
RANKING = Tree((20, 21, 22), ((8, 9, 2), (10, 11), (12,), (13, 14, 15, 2)))


def fresh(folder: Path) -> Scalar:
    backbone, _ = load_causal(folder)
    return Scalar.on_trunk(backbone, load_tokenizer(folder), seed=3)


def alone(folder: Path, trees: list[Tree], *, temperature: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
    """Answer tokens' log-probabilities, text by text and unpadded, and the gradient of their sum to all weights."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    found = []
    for tree in trees:
        for response in tree.responses:
            text = torch.tensor([[*tree.prompt, *response]])
            logprobs = (model(text).logits[0, :-1] / temperature).log_softmax(-1)
            found.append(logprobs.gather(-1, text[0, 1:, None]).squeeze(-1)[max(len(tree.prompt) - 1, 0) :])
    total = torch.cat(found)
    total.sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return total.detach(), gradients


@pytest.mark.parametrize("row_length", [0, 8, 64])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_packed_logprobs_and_gradients_equal_unpacked(tiny_folder: Path, row_length: int, temperature: float) -> None:
    trees = [*DEMONSTRATIONS, RANKING]
    model = Causal.load(tiny_folder)
    scores = model.scores(pack(trees, row_length=row_length), temperature=temperature)
    scores.logprobs.sum().backward()
    logprobs, gradients = alone(tiny_folder, trees, temperature=temperature)
    torch.testing.assert_close(scores.logprobs.detach(), logprobs, rtol=1e-4, atol=1e-5)
    ours = {f"model.{name}": p.grad for name, p in model.backbone.trunk.named_parameters()}
    assert ours.keys() == gradients.keys()  # the head is tied to the embedding: both gradients meet there
    for name, gradient in gradients.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [Scalar, Causal])
def test_gradients_of_many_samples_of_a_prompt_are_the_same_each_time(tiny_folder: Path, kind: type) -> None:
    packed = pack([Tree((20, 21, 22), tuple((5 + k % 50, 5 + k // 50, 2) for k in range(1000)))])
    model = fresh(tiny_folder) if kind is Scalar else Causal.load(tiny_folder)
    weights, threads, found = torch.randn(len(packed.sources)), torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        for _ in range(4):
            said = model.values(packed) if isinstance(model, Scalar) else model.scores(packed).logprobs
            found.append(torch.autograd.grad((said * weights).sum(), trainable([model]), allow_unused=True))
    finally:
        torch.set_num_threads(threads)
    first, *others = [[part for part in parts if part is not None] for parts in found]
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


def test_a_ranking_of_k_equals_its_responses_one_by_one(tiny_folder: Path) -> None:
    packed_model, single_model = fresh(tiny_folder), fresh(tiny_folder)
    weights = torch.tensor([1.0, -2.0, 0.5, 0.3])
    together = packed_model.rewards(pack([RANKING]))
    (weights * together).sum().backward()
    singles = [single_model.rewards(pack([Tree(RANKING.prompt, (r,))])) for r in RANKING.responses]
    (weights * torch.cat(singles)).sum().backward()
    torch.testing.assert_close(together, torch.cat(singles), rtol=1e-4, atol=1e-5)
    for one, other in zip(trainable([packed_model]), trainable([single_model]), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5)


def test_values_are_of_the_state_before_each_scored_token(tiny_folder: Path) -> None:
    model = fresh(tiny_folder)
    packed = pack([RANKING, *DEMONSTRATIONS], row_length=16)
    with torch.no_grad():
        values = torch.split(model.values(packed), list(packed.lengths))
        for response, ours in zip(RANKING.responses, values, strict=False):
            text = (*RANKING.prompt, *response)
            # the value before the token at place t is the reward of the text that ends at t - 1
            prefixes = [text[:end] for end in range(len(RANKING.prompt), len(text))]
            slow = torch.cat([model.rewards(pack([Tree((), (prefix,))])) for prefix in prefixes])
            torch.testing.assert_close(ours, slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_plain_classifier_gives_our_reward_plus_the_offset(tiny_folder: Path, tmp_path: Path, rank: int) -> None:
    model = fresh(tiny_folder)
    model.adapt(rank=rank, layers=1, alpha=4.0)
    for name, parameter in model.named_parameters():
        if name.endswith("lora_b"):
            torch.nn.init.normal_(parameter, std=0.3)
    model.reward_offset = 1.25
    model.save(tmp_path)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert theirs.config.reward_offset == 1.25
    again = Scalar.load(tmp_path)
    with torch.no_grad():
        ours = model.rewards(pack([RANKING]))
        torch.testing.assert_close(again.rewards(pack([RANKING])), ours, rtol=1e-4, atol=1e-5)
        for response, reward in zip(RANKING.responses, ours, strict=True):
            logit = theirs(torch.tensor([[*RANKING.prompt, *response]])).logits.item()
            assert logit - theirs.config.reward_offset == pytest.approx(reward.item(), abs=1e-5)


def test_a_fresh_head_is_drawn_as_the_source_says(tiny_folder: Path) -> None:
    # A: normal with standard deviation 1 / sqrt(d + 1), no bias; d = 32
    draws = torch.cat([fresh_head(tiny_folder, seed) for seed in range(40)])
    assert draws.mean().item() == pytest.approx(0, abs=0.02)
    assert draws.std().item() == pytest.approx(1 / math.sqrt(33), rel=0.05)
    assert torch.equal(fresh_head(tiny_folder, 7), fresh_head(tiny_folder, 7))


def fresh_head(folder: Path, seed: int) -> Tensor:
    backbone, _ = load_causal(folder)
    return Scalar.on_trunk(backbone, None, seed=seed).head.weight.detach().flatten()


def test_all_weights_or_the_adapters_and_the_head(tiny_folder: Path) -> None:
    whole, low_rank = fresh(tiny_folder), fresh(tiny_folder)
    whole.adapt(rank=0, layers=0, alpha=1.0)
    low_rank.adapt(rank=2, layers=1, alpha=1.0)
    assert len(trainable([whole])) == len(list(whole.parameters()))
    assert len(trainable([low_rank])) == 2 * 7 + 1
    assert any(p is low_rank.head.weight for p in trainable([low_rank]))
    assert len(trainable([whole, whole])) == len(trainable([whole]))
