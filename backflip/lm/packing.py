"""Trees of tokens, packed into rows: the one layout that SFT, reward model and PPO all train on.

A `Tree` is a prompt and the responses that continue it. Its prompt stands in a row once, however many responses
follow; a row holds several trees. A token sees the earlier tokens of its own response and of its own prompt, and
nothing else: packing is exact, and a ranking of nine costs one prompt, not nine. Nothing is ever padded inside a tree;
only a row's end is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Packed", "Tree", "batches_by_tokens", "pack", "split_responses"]

_PADDING = -1


@dataclass(frozen=True)
class Tree:
    """`prompt` and the `responses` that continue it, as token ids; a plain document answers an empty prompt."""

    prompt: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]

    @property
    def length(self) -> int:
        return len(self.prompt) + sum(len(r) for r in self.responses)


@dataclass(frozen=True)
class Packed:
    """A batch of packed rows. Responses are numbered over the whole batch, in the order of the trees given to `pack`.

    `sources` and `targets` list every scored token: response by response, then by position. The hidden state at
    `sources` (an index into rows * length) predicts `targets`. A response to an empty prompt has no state before its
    first token, so that token is not scored.
    """

    tokens: Tensor  # (rows, length)
    positions: Tensor  # (rows, length)
    tree: Tensor  # (rows, length), -1 on padding
    branch: Tensor  # (rows, length), 0 is the prompt, k the k-th response
    sources: Tensor  # (scored,)
    targets: Tensor  # (scored,)
    lengths: tuple[int, ...]  # scored tokens of each response
    last: Tensor  # (responses,) index into rows * length of each response's last token

    def mask(self) -> Tensor:
        """Who sees whom: (rows, 1, length, length), True where row's token i sees token j. Padding sees itself."""
        length = self.tokens.shape[1]
        order = torch.arange(length, device=self.tokens.device)
        same_tree = self.tree[:, :, None] == self.tree[:, None, :]
        on_path = (self.branch[:, :, None] == self.branch[:, None, :]) | (self.branch[:, None, :] == 0)
        return (same_tree & on_path & (order[:, None] >= order[None, :]))[:, None]

    @property
    def scored(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device) -> Packed:
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Packed(**moved, lengths=self.lengths)


def _rows(trees: Sequence[Tree], row_length: int) -> list[list[int]]:
    """First fit, longest first: the trees of each row. A tree longer than `row_length` has a row to itself."""
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(trees)), key=lambda i: -trees[i].length):
        need = trees[index].length
        place = next((r for r, free in enumerate(room) if free >= need), None)
        if place is None:
            rows.append([])
            room.append(max(row_length, need))
            place = len(rows) - 1
        rows[place].append(index)
        room[place] -= need
    return rows


class _Writer:
    """Writes trees into rows and remembers where each response's tokens went."""

    def __init__(self) -> None:
        self.tokens: list[list[int]] = []
        self.positions: list[list[int]] = []
        self.tree: list[list[int]] = []
        self.branch: list[list[int]] = []
        self.places: dict[tuple[int, int], list[tuple[int, int]]] = {}  # (tree, k) -> (row, column) of its tokens
        self.before: dict[int, tuple[int, int]] = {}  # tree -> (row, column) of its prompt's last token

    def row(self) -> None:
        for lines in (self.tokens, self.positions, self.tree, self.branch):
            lines.append([])

    def write(self, index: int, tree: Tree) -> None:
        row, line = len(self.tokens) - 1, self.tokens[-1]
        self._extend(index, 0, tree.prompt, 0)
        if tree.prompt:
            self.before[index] = (row, len(line) - 1)
        for k, response in enumerate(tree.responses):
            start = len(line)
            self._extend(index, k + 1, response, len(tree.prompt))
            self.places[index, k] = [(row, start + t) for t in range(len(response))]

    def _extend(self, index: int, branch: int, tokens: Sequence[int], start: int) -> None:
        self.tokens[-1].extend(tokens)
        self.positions[-1].extend(range(start, start + len(tokens)))
        self.tree[-1].extend([index] * len(tokens))
        self.branch[-1].extend([branch] * len(tokens))


def _padded(lines: list[list[int]], length: int, fill: int) -> Tensor:
    return torch.tensor([line + [fill] * (length - len(line)) for line in lines], dtype=torch.long).view(
        len(lines), length
    )


def pack(trees: Sequence[Tree], *, row_length: int = 0, pad: int = 0) -> Packed:
    """Packs trees into rows of at most `row_length` tokens (0: one tree a row). Every response needs a token."""
    writer = _Writer()
    for row in _rows(trees, row_length):
        writer.row()
        for index in row:
            writer.write(index, trees[index])
    length = max((len(line) for line in writer.tokens), default=0)
    sources: list[int] = []
    targets: list[int] = []
    lengths: list[int] = []
    last: list[int] = []
    for index, tree in enumerate(trees):
        for k, response in enumerate(tree.responses):
            path = [place[0] * length + place[1] for place in writer.places[index, k]]
            before = writer.before.get(index)
            states = ([before[0] * length + before[1]] if before else []) + path[:-1]
            sources += states
            targets += response[-len(states) :] if states else ()
            lengths.append(len(states))
            last.append(path[-1])
    return Packed(
        tokens=_padded(writer.tokens, length, pad),
        positions=_padded(writer.positions, length, 0),
        tree=_padded(writer.tree, length, _PADDING),
        branch=_padded(writer.branch, length, 0),
        sources=torch.tensor(sources, dtype=torch.long),
        targets=torch.tensor(targets, dtype=torch.long),
        lengths=tuple(lengths),
        last=torch.tensor(last, dtype=torch.long),
    )


def batches_by_tokens(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Consecutive indices whose sizes sum to at most `budget`; an item above the budget is a batch of its own."""
    batches: list[list[int]] = []
    total = budget + 1
    for index, size in enumerate(sizes):
        if total + size > budget:
            batches.append([])
            total = 0
        batches[-1].append(index)
        total += size
    return batches


def split_responses(flat: Tensor, lengths: Sequence[int], *, fill: float = 0.0) -> tuple[Tensor, Tensor]:
    """(scored,) values of consecutive responses -> (responses, longest) padded on the right, and the mask of values."""
    rows = torch.nn.utils.rnn.pad_sequence(list(torch.split(flat, list(lengths))), batch_first=True, padding_value=fill)
    counts = torch.tensor(lengths, device=flat.device)
    return rows, torch.arange(rows.shape[1], device=flat.device)[None, :] < counts[:, None]
