"""States of frozen lower layers, computed once a tree and used by every later pass.

With LoRA on the upper layers alone, what enters the first adapted layer never changes while a batch is trained on:
policy and reference, and every inner epoch, start from the same states.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from backflip.lm.heads import Causal, Scalar
from backflip.lm.packing import Packed

__all__ = ["LowerStates"]


class LowerStates:
    """The states that enter layer `model.split` for each tree of a batch. Where nothing is frozen it holds nothing."""

    def __init__(self, model: Causal | Scalar) -> None:
        self.model = model
        self._states: dict[int, Tensor] = {}  # tree -> (length, hidden)

    def clear(self) -> None:
        """Forgets the last batch."""
        self._states.clear()

    @torch.no_grad()
    def of(self, packed: Packed, trees: Sequence[int]) -> Tensor | None:
        """(rows, length, hidden) for a packed batch of the trees with these numbers; None where `split` is 0."""
        if not self.model.split:
            return None
        if any(tree not in self._states for tree in trees):
            states = self.model.backbone.lower(packed, self.model.split)
            for local, tree in enumerate(trees):
                self._states[tree] = states[packed.tree == local]
            return states
        first = self._states[trees[0]]
        states = first.new_zeros(*packed.tokens.shape, first.shape[-1])
        for local, tree in enumerate(trees):
            states[packed.tree == local] = self._states[tree]
        return states
