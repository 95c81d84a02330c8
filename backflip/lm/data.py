"""From records to trees of tokens, and the order in which training sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from backflip.lm.packing import Packed, Tree, batches_by_tokens, pack
from backflip.lm.tokens import Tokens
from backflip.records import Demonstration, Prompt

__all__ = ["MicroBatches", "answer_tree", "cut_left", "demonstration_tree", "epoch_order"]


def answer_tree(
    tokens: Tokens, prompt: Prompt, answers: Sequence[str], *, ended: bool = True, max_length: int = 0
) -> Tree:
    """A prompt and texts that answer it. `max_length` (0: none) bounds prompt and answer together; see `cut_left`."""
    responses = tuple(tokens.answer(text, ended=ended) for text in answers)
    return cut_left(Tree(tokens.prompt(prompt), responses), max_length)


def demonstration_tree(tokens: Tokens, demonstration: Demonstration, *, max_length: int = 0) -> Tree:
    """A demonstration: the loss falls on its one response."""
    return answer_tree(tokens, demonstration.prompt, [demonstration.answer], max_length=max_length)


def cut_left(tree: Tree, max_length: int) -> Tree:
    """Keeps prompt + longest response within `max_length`: the prompt loses its oldest tokens, then answers their last.

    The most recent turns decide a preference, so a dialogue is cut where it begins.
    """
    if not max_length or not tree.responses:
        return tree
    responses = tuple(r[:max_length] for r in tree.responses)
    room = max_length - max(len(r) for r in responses)
    prompt = tree.prompt[len(tree.prompt) - room :] if room < len(tree.prompt) else tree.prompt
    return Tree(prompt, responses)


def epoch_order(count: int, *, seed: int, epoch: int) -> list[int]:
    """A shuffle of 0..count-1 that depends on (seed, epoch) alone, so that a resumed run sees the same order."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(count, generator=generator).tolist()


@dataclass(frozen=True)
class MicroBatches:
    """Trees cut into passes of at most `tokens` tokens each, so that memory is bounded whatever the batch.

    Iterating gives (indices of the trees, their packed batch).
    """

    trees: Sequence[Tree]
    tokens: int
    row_length: int = 0
    pad: int = 0

    def __iter__(self) -> Iterator[tuple[list[int], Packed]]:
        for indices in batches_by_tokens([tree.length for tree in self.trees], self.tokens):
            yield indices, pack([self.trees[i] for i in indices], row_length=self.row_length, pad=self.pad)
