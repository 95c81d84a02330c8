"""The demo as one picture: win rates of every policy, and how PPO came to them. Drawn from the files of its runs."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backflip.demo.curves import CURVES, series
from backflip.errors import DependencyError
from backflip.runs import atomic_write_bytes, read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]

_NAMES = {"base": "base", "base_prompted": "base, prompted", "sft": "SFT", "best_of_n": "best of n", "ppo": "PPO"}
_RIVALS = (("win_rate_vs_base", "against base", "#7a8699"), ("win_rate_vs_sft", "against SFT", "#2f6fde"))
_GREY, _INK, _LINE = "#d5dae1", "#28303b", "#2f6fde"


def draw(folder: Path) -> Path:
    """Draws `demo.png` beside the `summary.json` in `folder`. Raises DependencyError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError("no picture: matplotlib is not installed (pip install 'backflip[demo]')") from error
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    rounds = [read_metrics(folder / f"round-{n}" / "ppo") for n in range(1, summary["rounds"] + 1)]
    figure = Figure(figsize=(10, 4.6), dpi=150, layout="constrained", facecolor="white")
    grid = figure.add_gridspec(3, 2, width_ratios=(1.1, 1))
    _win_rates(figure.add_subplot(grid[:, 0]), summary)
    for row, name in enumerate(list(CURVES)[:3]):
        _curve(figure.add_subplot(grid[row, 1]), rounds, name, last=row == 2)
    data = io.BytesIO()
    figure.savefig(data, format="png")
    atomic_write_bytes(folder / "demo.png", data.getvalue())
    return folder / "demo.png"


def _win_rates(axes: Axes, summary: Mapping[str, Any]) -> None:
    """A row a policy, the last one on top; a dot and its 95 % interval against each rival."""
    names = [name for name in summary["policies"] if name != "base"][::-1]
    axes.axvline(0.5, color=_INK, linewidth=0.8, linestyle=(0, (4, 3)))
    for (key, label, colour), shift in zip(_RIVALS, (0.14, -0.14), strict=True):
        found = [(y, rate) for y, name in enumerate(names) if (rate := summary["policies"][name][key])]
        ys, values = [y + shift for y, _ in found], [rate["value"] for _, rate in found]
        spread = [
            [rate["value"] - rate["low"] for _, rate in found],
            [rate["high"] - rate["value"] for _, rate in found],
        ]
        axes.errorbar(values, ys, xerr=spread, fmt="o", color=colour, markersize=6, elinewidth=2, label=label)
        for y, value in zip(ys, values, strict=True):
            axes.annotate(f"{value:.0%}", (value, y), (0, 6), textcoords="offset points", ha="center", color=colour)
    axes.set_yticks(range(len(names)), [_NAMES.get(name, name) for name in names])
    axes.set_ylim(-0.5, len(names) - 0.4)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    axes.legend(loc="lower left", frameon=False, fontsize=9)
    axes.set_xlabel(f"wins by a simulated judge, {summary['held_out_prompts']} held-out prompts, 95 % intervals")
    _plain(axes, "Who wins the blind comparison", grid="x")


def _curve(axes: Axes, rounds: Sequence[Sequence[Mapping[str, Any]]], name: str, *, last: bool) -> None:
    """One metric over all updates; a second round goes on where the first ended, behind a line."""
    from matplotlib.ticker import MaxNLocator

    before = 0
    for metrics in rounds:
        points = series(metrics, name)
        marker = "o" if len(points) <= 12 else ""
        axes.plot(
            [before + step for step, _ in points], [v for _, v in points], color=_LINE, marker=marker, markersize=4
        )
        if before:
            axes.axvline(before + 0.5, color=_INK, linewidth=0.8, linestyle=(0, (4, 3)))
        before += max((int(line["step"]) for line in metrics), default=0)
    axes.set_xlim(0, before + 0.5)
    if last:
        axes.set_xlabel("PPO update")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelbottom=last)
    _plain(axes, CURVES[name], grid="y")


def _plain(axes: Axes, title: str, *, grid: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=_INK)
    axes.grid(axis=grid, color=_GREY, linewidth=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=_INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GREY)
