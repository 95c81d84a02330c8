"""Low-rank adapters (LoRA, arXiv 2106.09685) on the linear layers of the upper decoder layers.

Our own rather than a library's, for three things that the loop needs: the frozen weights are never written, so that
switching an adapter off gives the reference policy to the bit; merged weights for sampling live beside the frozen
ones and are dropped after; and `save` sees ordinary merged weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from backflip.errors import ConfigError
from backflip.lm.linear import FastLinear, linear

__all__ = ["LoRALinear", "adapters", "adapters_off", "add_lora", "fold", "merged"]


class LoRALinear(nn.Module):
    """y = W x + (alpha / rank) B A dropout(x). W is frozen, B starts at zero: at first the layer is the frozen one."""

    def __init__(self, base: nn.Linear, *, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        device, dtype = base.weight.device, base.weight.dtype
        self.lora_a = nn.Parameter(torch.empty(rank, base.in_features, device=device, dtype=dtype))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank, device=device, dtype=dtype))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))
        self.scale, self.dropout, self.enabled = alpha / rank, dropout, True
        self._merged: FastLinear | None = None

    def delta(self) -> Tensor:
        """What the adapter adds to W: (out, in)."""
        return self.scale * (self.lora_b @ self.lora_a)

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            frozen: Tensor = self.base(x)
            return frozen
        if self._merged is not None:
            whole: Tensor = self._merged(x)
            return whole
        low = functional.dropout(x, self.dropout, self.training)
        return torch.add(self.base(x), linear(linear(low, self.lora_a), self.lora_b), alpha=self.scale)

    @torch.no_grad()
    def merge(self) -> None:
        """Keeps W + delta beside W, for inference; `unmerge` drops it."""
        whole = FastLinear.sharing(self.base)
        whole.weight = nn.Parameter(self.base.weight + self.delta(), requires_grad=False)
        object.__setattr__(self, "_merged", whole)  # not a submodule: it must enter no state_dict

    def unmerge(self) -> None:
        object.__setattr__(self, "_merged", None)


def add_lora(layers: nn.ModuleList, *, rank: int, first: int, alpha: float, dropout: float = 0.0) -> None:
    """Wraps every linear layer of `layers[first:]`. Raises ConfigError where there is no such layer."""
    if not 0 <= first < len(layers):
        raise ConfigError(f"LoRA was to start at layer {first}; this model has {len(layers)}. Give fewer LoRA layers")
    for layer in layers[first:]:
        for parent in list(layer.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear) and not isinstance(parent, LoRALinear):
                    setattr(parent, name, LoRALinear(child, rank=rank, alpha=alpha, dropout=dropout))


def adapters(module: nn.Module) -> list[LoRALinear]:
    """Every adapter below `module`, in a fixed order."""
    return [child for child in module.modules() if isinstance(child, LoRALinear)]


@contextmanager
def adapters_off(module: nn.Module) -> Iterator[None]:
    """Within, the module is the frozen one: the reference policy."""
    found = adapters(module)
    for adapter in found:
        adapter.enabled = False
    try:
        yield
    finally:
        for adapter in found:
            adapter.enabled = True


@contextmanager
def merged(module: nn.Module) -> Iterator[None]:
    """Within, adapters cost nothing: one product a layer instead of three. For inference only."""
    found = adapters(module)
    for adapter in found:
        adapter.merge()
    try:
        yield
    finally:
        for adapter in found:
            adapter.unmerge()


@torch.no_grad()
def fold(module: nn.Module) -> None:
    """Makes the adapters part of the weights for good, and removes them."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoRALinear):
                child.base.weight.add_(child.delta())
                setattr(parent, name, child.base)
