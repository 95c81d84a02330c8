"""The preallocated cache holds what was computed, and a prompt is computed once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backflip.lm.backbone import load_causal
from backflip.lm.cache import Prefix, SlotCache, compute_prefixes
from backflip.lm.packing import Tree, pack

PROMPTS = [(5, 6), (7, 8, 9, 10), (11,)]


def prefix(length: int, fill: float) -> Prefix:
    """Two layers, one head of size 2."""
    keys = [torch.full((1, length, 2), fill + layer) for layer in (0, 10)]
    return Prefix(keys, [-k for k in keys], torch.zeros(3), length)


@torch.no_grad()
@pytest.mark.parametrize("prompts", [PROMPTS, [(5, 6, 7), (5, 6, 7), (5, 6), (5, 6, 8, 9)], [(5, 6), (5,)]])
@pytest.mark.parametrize("together", [2, 512])
def test_prefixes_of_several_prompts_equal_each_alone(
    tiny_folder: Path, prompts: list[tuple[int, ...]], together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backflip.lm.cache._TOGETHER", together)
    backbone, _ = load_causal(tiny_folder)
    for prompt, ours in zip(prompts, compute_prefixes(backbone, prompts), strict=True):
        (alone,) = compute_prefixes(backbone, [prompt])
        assert ours.length == len(prompt)
        for one, other in zip([*ours.keys, *ours.values], [*alone.keys, *alone.values], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.state, backbone(pack([Tree(prompt, ())]))[0, -1], rtol=1e-4, atol=1e-5)


def test_what_all_prompts_begin_with_is_computed_once(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, _ = load_causal(tiny_folder)
    run, sizes = backbone.run, []
    monkeypatch.setattr(
        backbone, "run", lambda tokens, *rest, **more: (sizes.append(tokens.numel()), run(tokens, *rest, **more))[1]
    )
    compute_prefixes(backbone, [(*range(5, 25), 30 + k) for k in range(8)])
    assert sizes == [20 + 8]


@torch.no_grad()
def test_steps_through_the_cache_equal_one_pass(tiny_folder: Path) -> None:
    backbone, _ = load_causal(tiny_folder)
    texts = [(5, 6, 20, 21, 22), (7, 8, 9, 10, 23, 24, 25), (11, 26, 27, 28)]
    cache = SlotCache(rows=4, capacity=8)
    for row, ready in enumerate(compute_prefixes(backbone, PROMPTS)):
        cache.install(row, ready)
    for t in range(3):
        newest = torch.tensor([[text[len(p) + t]] for p, text in zip(PROMPTS, texts, strict=True)])
        with cache.step(3) as (positions, mask):
            states = backbone.run(newest, positions, mask, cache=cache)[:, 0]
        for row, (p, text) in enumerate(zip(PROMPTS, texts, strict=True)):
            whole = backbone(pack([Tree((), (text[: len(p) + t + 1],))]))[0, -1]
            torch.testing.assert_close(states[row], whole, rtol=1e-4, atol=1e-5)


def test_a_moved_row_is_whole_and_old_columns_are_masked() -> None:
    cache = SlotCache(rows=2, capacity=4)
    cache.install(0, prefix(3, 1.0))
    cache.install(1, prefix(2, 2.0))
    cache.move(1, 0)
    assert cache.columns.tolist() == [2, 2]
    with cache.step(1) as (positions, mask):
        keys, values = cache.update(torch.full((1, 1, 1, 2), 9.0), torch.full((1, 1, 1, 2), -9.0), 0)
        assert positions.tolist() == [[2]]
        assert mask.tolist() == [[[[True, True, True]]]]
    assert keys[0, 0, :, 0].tolist() == [2.0, 2.0, 9.0]
    assert values[0, 0, :, 0].tolist() == [-2.0, -2.0, -9.0]
    assert cache.columns.tolist() == [3, 2]


def test_rows_of_different_length_see_their_own_columns() -> None:
    cache = SlotCache(rows=3, capacity=5)
    cache.install(0, prefix(1, 1.0))
    cache.install(1, prefix(3, 2.0))
    with cache.step(2) as (positions, mask):
        assert cache.get_seq_length() == 4
        assert positions.flatten().tolist() == [1, 3]
        assert mask[:, 0, 0].tolist() == [[True, True, False, False], [True, True, True, True]]
