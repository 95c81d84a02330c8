"""The report's pictures, each an SVG to stand in the page. Drawn by matplotlib."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from backflip.errors import DependencyError
from backflip.evaluation.overoptimisation import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Interval", "curves", "dots", "overoptimisation"]

Interval = Mapping[str, float]
_INK, _GREY, _PALE = "#28303b", "#7a8699", "#d5dae1"
COLOURS = ("#2f6fde", "#d9822b", "#2d9d78", "#a854c9", "#c9364f", "#5b6b7f")


def _figure(width: float, height: float) -> Figure:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError(
            "the report's pictures need matplotlib, which is not installed; run: pip install 'backflip[demo]'"
        ) from error
    with mpl.rc_context({"font.family": "DejaVu Sans"}):
        return Figure(figsize=(width, height), layout="constrained", facecolor="none")


def _svg(figure: Figure, title: str) -> str:
    """The SVG element alone: text stays text, ids do not clash with another picture's, equal data give equal bytes."""
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    mark = re.sub(r"\W+", "-", title)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{mark}-\1"', text)
    text = re.sub(r'(xlink:href|href)="#([^"]+)"', rf'\1="#{mark}-\2"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{mark}-\1)", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{_escaped(title)}"', 1)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def dots(
    rows: Mapping[str, Mapping[str, Interval | None]],
    *,
    title: str,
    label: str,
    line: float | None = None,
    limits: tuple[float, float] | None = None,
    percent: bool = True,
) -> str:
    """A row a name, a dot and an interval for each series; `rows`: name -> series -> value, low, high."""
    names = list(rows)[::-1]
    series = list(dict.fromkeys(one for row in rows.values() for one in row))
    figure = _figure(7.2, 0.9 + len(names) * max(0.4, 0.21 * len(series) + 0.1))
    axes = figure.add_subplot()
    if line is not None:
        axes.axvline(line, color=_INK, linewidth=0.8, linestyle=(0, (4, 3)))
    step = min(0.26, 0.78 / max(len(series), 1))
    for k, one in enumerate(series):
        shift = step * ((len(series) - 1) / 2 - k)
        found = [(y + shift, row) for y, name in enumerate(names) if (row := rows[name].get(one)) is not None]
        _intervals(axes, found, COLOURS[k % len(COLOURS)], one, percent=percent)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    if limits:
        axes.set_xlim(*limits)
    if percent:
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel(label)
    if len(series) > 1:
        figure.legend(loc="outside lower center", ncols=min(len(series), 4), frameon=False, fontsize=9)
    _plain(axes, grid="x")
    return _svg(figure, title)


def _intervals(axes: Axes, found: Sequence[tuple[float, Interval]], colour: str, label: str, *, percent: bool) -> None:
    values = [row["value"] for _, row in found]
    # Floating point may put an end a hair inside the value; a bar of negative length is refused.
    spread = [
        [max(0.0, row["value"] - row["low"]) for _, row in found],
        [max(0.0, row["high"] - row["value"]) for _, row in found],
    ]
    axes.errorbar(
        values, [y for y, _ in found], xerr=spread, fmt="o", color=colour, markersize=5.5, elinewidth=2, label=label
    )
    for y, row in found:
        told = f"{row['value']:.0%}" if percent else f"{row['value']:.0f}"
        axes.annotate(told, (row["high"], y), (5, 0), textcoords="offset points", va="center", color=colour, fontsize=8)


def curves(series: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], *, title: str, label: str) -> str:
    """Small pictures side by side: `series`: picture -> line -> (x, y) points."""
    shown = {name: lines for name, lines in series.items() if any(len(points) > 0 for points in lines.values())}
    columns = min(3, max(1, len(shown)))
    rows = -(-len(shown) // columns)
    figure = _figure(2.7 * columns + 0.3, 1.9 * rows + 0.3)
    for place, (name, lines) in enumerate(shown.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        for k, (one, points) in enumerate(lines.items()):
            if points:
                xs, ys = zip(*points, strict=True)
                few = len(points) <= 15
                axes.plot(
                    xs,
                    ys,
                    color=COLOURS[k % len(COLOURS)],
                    linewidth=1.6,
                    marker="o" if few else "",
                    markersize=3,
                    label=one,
                )
        axes.set_title(name, loc="left", fontsize=9.5, color=_INK)
        axes.tick_params(labelsize=8)
        if place > len(shown) - columns:
            axes.set_xlabel(label, fontsize=8)
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize=7.5)
        _plain(axes, grid="y")
    return _svg(figure, title)


def overoptimisation(found: Sequence[tuple[str, Sequence[Point]]], *, stops: Sequence[float], title: str) -> str:
    """Left the proxy, right the held-out judge, over sqrt(KL): a line for each way to optimise; `stops` are marked."""
    figure = _figure(7.6, 2.9)
    sides: tuple[tuple[str, Callable[[Point], float | None]], ...] = (
        ("reward model's score (what was optimised)", lambda p: p.proxy),
        ("held-out judge (what was wanted)", lambda p: p.judge),
    )
    for place, (name, side) in enumerate(sides, start=1):
        axes = figure.add_subplot(1, 2, place)
        for k, (label, points) in enumerate(found):
            told = [(p.distance, value) for p in points if (value := side(p)) is not None]
            if told:
                xs, ys = zip(*told, strict=True)
                style = "-" if len(told) > 2 and label.startswith("PPO") else "--"
                axes.plot(
                    xs,
                    ys,
                    style,
                    color=COLOURS[k % len(COLOURS)],
                    marker="o",
                    markersize=3.5,
                    linewidth=1.5,
                    label=label,
                )
        for stop in stops if place == 2 else ():
            axes.axvline(stop, color=COLOURS[4], linewidth=1, linestyle=(0, (3, 3)))
            axes.annotate(
                "stop",
                (stop, 0.02),
                (3, 0),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                fontsize=8,
                color=COLOURS[4],
            )
        axes.set_title(name, loc="left", fontsize=9.5, color=_INK)
        axes.set_xlabel("sqrt(KL to the reference), nats a text", fontsize=8.5)
        axes.tick_params(labelsize=8)
        axes.legend(frameon=False, fontsize=7.5)
        _plain(axes, grid="y")
    return _svg(figure, title)


def _plain(axes: Axes, *, grid: str) -> None:
    axes.grid(axis=grid, color=_PALE, linewidth=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=_INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_PALE)
    axes.patch.set_alpha(0)
