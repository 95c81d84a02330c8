"""How PPO went, in a few lines of block characters: the curves of `metrics.jsonl` on a terminal."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

__all__ = ["CURVES", "curves", "series", "sparkline"]

CURVES: Mapping[str, str] = {
    "judge/score": "simulated judge, validation",
    "objective/score": "reward model, training",
    "objective/kl": "KL to SFT, nats a text",
    "tokens/mean_length": "tokens an answer",
}
_BLOCKS, _WIDTH = "▁▂▃▄▅▆▇█", 32


def series(metrics: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """(step, value) of the lines that have the metric and a number for it."""
    return [(int(line["step"]), float(line[name])) for line in metrics if line.get(name) is not None]


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """One block a value, the lowest value the lowest block; more values than `width` are averaged in equal parts."""
    if len(values) > width:
        edges = [round(i * len(values) / width) for i in range(width + 1)]
        values = [math.fsum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    spread = high - low or 1.0
    return "".join(_BLOCKS[min(int((v - low) / spread * len(_BLOCKS)), len(_BLOCKS) - 1)] for v in values)


def curves(metrics: Sequence[Mapping[str, Any]], title: str) -> Table:
    """A line a curve: its name, its shape, and its first and last value."""
    table = Table(title=title, box=None, show_header=False, title_justify="left", title_style="bold")
    for name, label in CURVES.items():
        values = [value for _, value in series(metrics, name)]
        if values:
            table.add_row(label, Text(sparkline(values), style="cyan"), f"{values[0]:z.2f} → {values[-1]:z.2f}")
    return table
