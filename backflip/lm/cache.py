"""The preallocated key-value cache of the sampler, and prompts computed once for all their samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from backflip.lm.backbone import Backbone
from backflip.lm.packing import Tree, batches_by_tokens, pack

__all__ = ["Prefix", "SlotCache", "compute_prefixes"]

_TOGETHER = 512  # tokens of prompts' own in a row: the mask of a row grows with the square of its length


class Prefix(NamedTuple):
    """A computed prompt: its keys and values by layer, and the state that predicts the first token."""

    keys: list[Tensor]  # (heads, length, size) each
    values: list[Tensor]
    state: Tensor  # (hidden,)
    length: int


class _Recorder:
    """A cache that remembers what one forward pass over prompts computes."""

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        del layer  # layers come in order
        self.keys.append(keys)
        self.values.append(values)
        return keys, values

    def get_seq_length(self, layer: int = 0) -> int:
        del layer
        return 0


def compute_prefixes(backbone: Backbone, prompts: Sequence[Sequence[int]]) -> list[Prefix]:
    """One forward pass over several prompts; what all of them begin with (a template, examples) is computed once."""
    shared = _shared(prompts)
    ends = [tuple(prompt[shared:]) for prompt in prompts]
    groups = batches_by_tokens([len(end) for end in ends], _TOGETHER if shared else 0)
    trees = [Tree(tuple(prompts[0][:shared]), tuple(ends[i] for i in group)) for group in groups]
    packed = pack(trees).to(backbone.device)
    seen = _Recorder()
    states = backbone.run(packed.tokens, packed.positions, packed.mask(), cache=seen)
    prefixes = []
    for tree, branch in ((tree, k) for tree, group in enumerate(groups) for k in range(1, len(group) + 1)):
        own = (packed.tree == tree) & ((packed.branch == 0) | (packed.branch == branch))
        row, columns = int(own.any(dim=1).nonzero()), own.any(dim=0).nonzero()[:, 0]
        keys, values = ([layer[row][:, columns] for layer in layers] for layers in (seen.keys, seen.values))
        prefixes.append(Prefix(keys, values, states[row, columns[-1]], len(columns)))
    return prefixes


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with, each keeping one of its own; of a single prompt none."""
    if len(prompts) < 2:
        return 0
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))  # in order, these two differ the soonest
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return min(same, min(len(prompt) for prompt in prompts) - 1)


class SlotCache:
    """Keys and values of every row and layer, preallocated: (rows, heads, capacity, size) each.

    Active rows are the first ones. A row's columns 0..n-1 hold what it has seen; what lies behind is masked.
    """

    def __init__(self, rows: int, capacity: int) -> None:
        self.rows, self.capacity = rows, capacity
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.columns = torch.zeros(rows, dtype=torch.long)  # where each row writes next
        self._index, self._column, self._seen = torch.empty(0), torch.empty(0), 0

    def install(self, row: int, prefix: Prefix) -> None:
        """Copies a computed prompt into a row."""
        for layer, (keys, values) in enumerate(zip(prefix.keys, prefix.values, strict=True)):
            if layer == len(self.keys):
                shape = (self.rows, keys.shape[0], self.capacity, keys.shape[2])
                self.keys.append(keys.new_zeros(shape))
                self.values.append(values.new_zeros(shape))
            self.keys[layer][row, :, : prefix.length] = keys
            self.values[layer][row, :, : prefix.length] = values
        self.columns[row] = prefix.length

    def move(self, source: int, target: int) -> None:
        """Copies one row over another."""
        used = int(self.columns[source])
        for layers in (self.keys, self.values):
            for layer in layers:
                layer[target, :, :used] = layer[source, :, :used]
        self.columns[target] = self.columns[source]

    @contextmanager
    def step(self, active: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One decoding step of the first `active` rows: their positions (active, 1) and mask (active, 1, 1, seen)."""
        device = self.keys[0].device
        columns = self.columns[:active].to(device)
        self._index, self._column = torch.arange(active, device=device), columns
        self._seen = int(columns.max()) + 1
        mask = torch.arange(self._seen, device=device)[None, :] <= columns[:, None]
        yield columns[:, None], mask[:, None, None, :]
        self.columns[:active] += 1

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Stores one new token a row, (active, heads, 1, size); returns all columns up to the longest row's."""
        active = len(self._index)
        self.keys[layer][self._index, :, self._column] = keys[:, :, 0]
        self.values[layer][self._index, :, self._column] = values[:, :, 0]
        return self.keys[layer][:active, :, : self._seen], self.values[layer][:active, :, : self._seen]

    def get_seq_length(self, layer: int = 0) -> int:
        """How many columns are in use (some model families ask)."""
        del layer
        return self._seen
