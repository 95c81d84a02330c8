"""Training all weights in less memory, to the same numbers.

Rows of the embedding that no text holds get neither gradient nor moments (`seen_rows`); a weight is stepped as soon as
its gradient is whole, and the gradient freed (`step_in_backward`). A third means is `Backbone.recompute`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from backflip.lm.packing import Tree

__all__ = ["SeenRows", "seen_rows", "step_in_backward"]


class SeenRows(nn.Module):
    """An embedding of which only the given rows are trained; the others are constants of the same table.

    Equal to training the whole table where there is no weight decay: a row without a gradient has moments of 0 and
    stays where it is. The row of `padding_idx` gets no gradient from `nn.Embedding` either.
    """

    def __init__(self, table: nn.Embedding, seen: Sequence[int]) -> None:
        super().__init__()
        self.table = table.requires_grad_(False)
        self.seen = torch.tensor([s for s in sorted(seen) if s != table.padding_idx], device=table.weight.device)
        self.rows = nn.Parameter(table.weight[self.seen].clone())
        self.place = self.seen.new_full((table.num_embeddings,), -1)
        self.place[self.seen] = torch.arange(len(self.seen), device=self.seen.device)

    def forward(self, tokens: Tensor) -> Tensor:
        places = self.place[tokens]
        trained = functional.embedding(places.clamp(min=0), self.rows)
        return torch.where((places >= 0)[..., None], trained, functional.embedding(tokens, self.table.weight))

    @torch.no_grad()
    def fold(self) -> nn.Embedding:
        """The whole table, with what its rows have learned."""
        self.table.weight[self.seen] = self.rows
        return self.table.requires_grad_(True)


@contextmanager
def seen_rows(trunk: Any, trees: Sequence[Tree]) -> Iterator[None]:
    """Within, only the embedding's rows that these trees hold are trained; nothing changes where none is."""
    table = getattr(trunk, "embed_tokens", None)
    if not isinstance(table, nn.Embedding) or not table.weight.requires_grad:
        yield
        return
    tokens = {token for tree in trees for part in (tree.prompt, *tree.responses) for token in part}
    trunk.embed_tokens = SeenRows(table, list(tokens))
    try:
        yield
    finally:
        trunk.embed_tokens = trunk.embed_tokens.fold()


def step_in_backward(loss: Tensor, parameters: Sequence[nn.Parameter], optimiser: torch.optim.Optimizer) -> float:
    """`loss.backward()` that steps each parameter as soon as its gradient is whole, and frees it; returns their norm.

    For the last pass of an update (what earlier passes left is added), and for optimisers that treat each parameter by
    itself, as Adam does. Nothing can be clipped: the norm is known when all steps are taken.
    """
    norms: list[Tensor] = []
    earlier: dict[Tensor, Tensor] = {p: p.grad for p in parameters if p.grad is not None}

    def step(parameter: Tensor) -> None:
        assert parameter.grad is not None
        if parameter in earlier:
            parameter.grad += earlier.pop(parameter)
        norms.append(torch.linalg.vector_norm(parameter.grad))
        optimiser.step()  # of this one alone: no other has a gradient now
        parameter.grad = None

    for parameter in parameters:
        parameter.grad = None
    hooks = [parameter.register_post_accumulate_grad_hook(step) for parameter in parameters]
    try:
        loss.backward()
    finally:
        for hook in hooks:
            hook.remove()
    for unreached, gradient in list(earlier.items()):  # by the last pass
        unreached.grad = torch.zeros_like(gradient)
        step(unreached)
    return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
