"""What is sampled is the model's own distribution, whatever else is sampled beside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GenerationConfig

from backflip.errors import ConfigError, TrainingDiverged
from backflip.lm.heads import Causal
from backflip.lm.lora import adapters, fold
from backflip.lm.packing import Tree, pack
from backflip.lm.sampler import Completion, LocalSampler, SamplerConfig

PROMPTS = [(5, 6, 7), (8,), (9, 10, 11, 12, 13, 14), (15, 16)]


def sampler(folder: Path, *, eos: int | None = None, **changes: Any) -> LocalSampler:
    made = LocalSampler(Causal.load(folder), SamplerConfig(**({"max_tokens": 12, "rows": 4} | changes)))
    made.eos = made.eos if eos is None else eos
    return made


def common_token(folder: Path) -> int:
    """What the model likes to say: as EOS it makes answers of many lengths."""
    groups = sampler(folder, rows=32, temperature=2.0).sample(PROMPTS, samples=8)
    return Counter(token for group in groups for c in group for token in c.tokens).most_common(1)[0][0]


def tokens(groups: list[list[Completion]]) -> list[list[tuple[int, ...]]]:
    return [[c.tokens for c in group] for group in groups]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_equal_rescoring(tiny_folder: Path, temperature: float) -> None:
    made = sampler(tiny_folder, temperature=temperature, eos=50)
    groups = made.sample(PROMPTS, samples=3)
    packed = pack([Tree(p, tuple(c.tokens for c in g)) for p, g in zip(PROMPTS, groups, strict=True)])
    with torch.no_grad():
        scores = made.model.scores(packed, temperature=temperature)
    sampled = torch.tensor([x for group in groups for c in group for x in c.logprobs])
    torch.testing.assert_close(sampled, scores.logprobs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral", "qwen3", "gpt2", "gpt_neox"])
def test_greedy_equals_generate(family_folder: Callable[[str], Path], family: str) -> None:
    folder = family_folder(family)
    groups = sampler(folder, temperature=0.0, rows=3).sample(PROMPTS, samples=1)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.generation_config = GenerationConfig(do_sample=False, max_new_tokens=12, eos_token_id=2, pad_token_id=0)
    for prompt, (completion,) in zip(PROMPTS, groups, strict=True):
        ids = torch.tensor([prompt])
        whole = model.generate(ids, attention_mask=torch.ones_like(ids))[0].tolist()
        assert list(completion.tokens) == whole[len(prompt) :]


def test_draws_do_not_depend_on_rows(tiny_folder: Path) -> None:
    eos = common_token(tiny_folder)
    engines = [sampler(tiny_folder, rows=rows, eos=eos, temperature=2.0) for rows in (1, 3, 32)]
    runs = [tokens(engine.sample(PROMPTS, samples=3)) for engine in engines]
    assert runs[0] == runs[1] == runs[2]


def test_draws_do_not_depend_on_other_prompts_or_samples(tiny_folder: Path) -> None:
    keys = [2**59 + 7, 3, 4, 11]
    all_of_them = tokens(sampler(tiny_folder).sample(PROMPTS, samples=4, keys=keys))
    turned = tokens(sampler(tiny_folder).sample(PROMPTS[::-1], samples=4, keys=keys[::-1]))
    assert turned[::-1] == all_of_them
    alone = tokens(sampler(tiny_folder).sample(PROMPTS[2:3], samples=2, keys=keys[2:3]))
    assert alone[0] == all_of_them[2][:2]


def test_streams_differ_by_seed_key_sample_and_position(tiny_folder: Path) -> None:
    made = sampler(tiny_folder)
    base = made._stream(1, 0)
    assert len(set(base.tolist())) == len(base)
    others = [made._stream(2, 0), made._stream(1, 1), sampler(tiny_folder, seed=1)._stream(1, 0)]
    assert all(not set(base.tolist()) & set(other.tolist()) for other in others)
    longer = sampler(tiny_folder, max_tokens=20)._stream(1, 0)
    assert longer[:12].tolist() == base.tolist()  # a longer limit changes no earlier draw


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_frequencies_match_the_distribution(tiny_folder: Path, temperature: float) -> None:
    made = sampler(tiny_folder, max_tokens=1, rows=4096, temperature=temperature, seed=1)
    count = 4000
    (group,) = made.sample([PROMPTS[0]], samples=count)
    with torch.no_grad():
        states = made.model.backbone(pack([Tree(PROMPTS[0], ())]))[0, -1]
        expected = count * (made.model.head(states) / temperature).softmax(-1).double()
    seen = torch.bincount(torch.tensor([c.tokens[0] for c in group]), minlength=len(expected)).double()
    rare = expected < 5  # the usual rule: classes expected fewer than 5 times are one class
    seen, expected = (torch.cat([x[~rare], x[rare].sum()[None]]) for x in (seen, expected))
    statistic, freedom = float(((seen - expected) ** 2 / expected).sum()), len(expected) - 1
    # chi-square has mean `freedom` and variance 2 * freedom: within four standard deviations
    assert abs(statistic - freedom) < 4 * math.sqrt(2 * freedom)
    assert freedom > 20


def test_a_finished_row_leaves_its_place(tiny_folder: Path) -> None:
    made = sampler(tiny_folder, rows=3, temperature=2.0, max_tokens=30, eos=common_token(tiny_folder))
    active: list[int] = []

    def count(_module: nn.Module, inputs: tuple[torch.Tensor, ...], _output: object) -> None:
        if inputs[0].shape[1] == 1:  # one token a row: a decoding step (no prompt here has one token)
            active.append(inputs[0].shape[0])

    made.model.backbone.layers[0].register_forward_hook(count)
    groups = made.sample([PROMPTS[0], PROMPTS[2], PROMPTS[3]], samples=6)
    lengths = [len(c.tokens) for group in groups for c in group]
    assert len(set(lengths)) > 4
    # a sample's first token comes from its prompt; each other one from one row of one step: nothing is wasted
    assert sum(active) == sum(n - 1 for n in lengths)
    assert active == simulated_steps(lengths, rows=3)


def simulated_steps(lengths: list[int], *, rows: int) -> list[int]:
    """How many rows are active in each step, by the obvious queue: places are filled at once, in order."""
    waiting, places, steps = list(lengths), [], []
    while True:
        while waiting and len(places) < rows:
            places.append(waiting.pop(0))
        if not places:
            return steps
        places = [left - 1 for left in places if left > 1]
        if places:
            steps.append(len(places))


def test_a_completion_ends_with_its_eos_or_at_the_limit(tiny_folder: Path) -> None:
    eos = common_token(tiny_folder)
    made = sampler(tiny_folder, eos=eos, rows=16, temperature=2.0)
    groups = made.sample(PROMPTS, samples=8)
    flat = [c for group in groups for c in group]
    assert {c.ended for c in flat} == {True, False}
    for index, group in enumerate(groups):
        assert [c.sample for c in group] == list(range(8))
        assert {c.prompt for c in group} == {index}
    for c in flat:
        assert c.ended == (c.tokens[-1] == eos)
        assert eos not in c.tokens[:-1]
        assert c.ended or len(c.tokens) == 12
        assert len(c.logprobs) == len(c.tokens)


def test_adapters_are_merged_while_sampling_and_the_mode_is_kept(tiny_folder: Path) -> None:
    made = sampler(tiny_folder)
    made.model.adapt(rank=2, layers=1, alpha=4.0, dropout=0.5)
    torch.manual_seed(0)
    for adapter in adapters(made.model):
        nn.init.normal_(adapter.lora_b, std=0.3)
    made.model.train()
    adapted = made.sample(PROMPTS, samples=2)
    assert made.model.training
    fold(made.model)
    assert tokens(made.sample(PROMPTS, samples=2)) == tokens(adapted)


def test_the_mode_is_kept_when_sampling_is_interrupted(tiny_folder: Path) -> None:
    made = sampler(tiny_folder)
    made.model.train()

    def stop(_: Completion) -> None:
        raise KeyboardInterrupt

    made.on_done = stop
    with pytest.raises(KeyboardInterrupt):
        made.sample(PROMPTS, samples=1)
    assert made.model.training


def test_no_prompts_no_samples(tiny_folder: Path) -> None:
    assert sampler(tiny_folder).sample([], samples=2) == []


@pytest.mark.parametrize("change", [{"max_tokens": 0}, {"temperature": -1.0}, {"rows": 0}])
def test_nonsense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        SamplerConfig(**change)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_whose_weights_are_no_numbers_is_refused(tiny_folder: Path, temperature: float) -> None:
    made = sampler(tiny_folder, temperature=temperature)
    made.model.head.weight.data[3, 0] = math.nan
    with pytest.raises(TrainingDiverged, match="the logprob of a sampled token is nan; wanted a finite number"):
        made.sample(PROMPTS, samples=1)
