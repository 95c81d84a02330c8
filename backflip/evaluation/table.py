"""An evaluation on a terminal: a table of figures, and answers side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from backflip.feedback.intervals import told
from backflip.feedback.keyboard import plain

__all__ = ["comparison_table", "ratings_table", "side_by_side"]


def comparison_table(policies: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    """A column a policy: judges with 95 % intervals, RM score, KL, tokens, share that ended, win rates.

    "same length" counts only pairs that both ended and differ in length by less than a quarter. `policies` are figures
    as `backflip.recipes.evaluate.Result` holds them.
    """
    columns = {name: _cells(figures) for name, figures in policies.items()}
    table = Table("", *(Column(Text(name), justify="right") for name in columns), title=title)
    for line in dict.fromkeys(line for cells in columns.values() for line in cells):
        table.add_row(Text(line), *(Text(cells.get(line, "-")) for cells in columns.values()))
    return table


def _cells(figures: Mapping[str, Any]) -> dict[str, str]:
    cells: dict[str, str] = {}
    for judge, found in figures["judges"].items():
        cells[judge] = _interval(found, ".3f")
        cells |= {f"  {part}": f"{value:.2f}" for part, value in found["parts"].items()}
    if figures["rm"] is not None:
        cells["rm"] = f"{figures['rm']:z.2f}"
    if kl := figures["kl"]:
        cells["KL"] = f"{'≤ ' * kl['bound']}{kl['value']:z.2f}"
    cells |= {"tokens": f"{figures['tokens']:.1f}", "ended": f"{figures['eos_share']:.0%}"}
    kinds = (("win_rates", ""), ("same_length", ", same length"), ("length_controlled", ", length-controlled"))
    for kind, label in kinds:
        for by, rates in figures.get(kind, {}).items():
            cells |= {f"{by}: wins vs {name}{label}": _interval(rate, ".0%") for name, rate in rates.items()}
    return cells


def ratings_table(ratings: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    """A row a policy, a column for each who compared: Elo ratings with 95 % intervals, the first policy at 1000."""
    table = Table("Elo", *(Column(Text(by), justify="right") for by in ratings), title="ratings")
    for name in next(iter(ratings.values())):
        table.add_row(Text(name), *(Text(_interval(found[name], ".0f")) for found in ratings.values()))
    return table


def _interval(found: Mapping[str, float] | None, form: str) -> str:
    if found is None:
        return "-"
    return told(found, form, between="\n[{}, {}]", none="\nnone")


def side_by_side(shown: Mapping[str, Any]) -> Group:
    """A prompt and each policy's answer to it, with the judges' scores."""
    panels = []
    for name, answer in shown["answers"].items():
        scores = ", ".join(f"{by} {score:.2f}" for by, score in answer["scores"].items())
        title = Text(f"{name}{' (greedy)' if answer['greedy'] else ''}{': ' if scores else ''}{scores}")
        text = Text(plain(answer["text"]))
        panels.append(
            Panel(text if answer["ended"] else text.append(" ... (cut)", style="dim"), title=title, title_align="left")
        )
    return Group(Text(plain(shown["prompt"]), style="bold"), *panels)
