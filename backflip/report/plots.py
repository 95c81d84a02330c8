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

__all__ = ["Interval", "curve", "dots", "overoptimisation"]

Interval = Mapping[str, float]
_INK, _PALE = "#28303b", "#d5dae1"
COLOURS = ("#2f6fde", "#d9822b", "#2d9d78", "#a854c9", "#c9364f", "#5b6b7f")
_STYLED = {_INK: "currentColor", _PALE: "var(--line)"} | {c: f"var(--series-{i}, {c})" for i, c in enumerate(COLOURS)}


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
    """The SVG element alone: text stays text, ids do not clash with another picture's, equal data give equal bytes.

    Its colours are the page's, so that it can be read on a dark page too.
    """
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
    text = re.sub(r"(?<=: )#[0-9a-f]{6}\b", lambda colour: _STYLED.get(colour.group(), colour.group()), text)
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
    figure = _figure(6.4, 0.9 + len(names) * max(0.4, 0.21 * len(series) + 0.1))
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
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
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
        told = f"{100 * row['value']:.0f} %" if percent else f"{row['value']:.0f}"
        axes.annotate(told, (row["high"], y), (5, 0), textcoords="offset points", va="center", color=colour, fontsize=8)


def curve(lines: Mapping[str, Sequence[tuple[float, float]]], *, name: str, title: str, label: str) -> str:
    """One small picture of a line or several, each of (x, y) points."""
    figure = _figure(3.1, 2.1)
    axes = figure.add_subplot()
    for k, (one, points) in enumerate(lines.items()):
        xs, ys = zip(*points, strict=True)
        few = "o" if len(points) <= 15 else ""
        axes.plot(xs, ys, color=COLOURS[k % len(COLOURS)], linewidth=1.6, marker=few, markersize=3, label=one)
    axes.set_title(name, loc="left", fontsize=10, color=_INK)
    axes.set_xlabel(label, fontsize=8.5)
    axes.tick_params(labelsize=8.5)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=8)
    _plain(axes, grid="y")
    return _svg(figure, title)


def overoptimisation(
    found: Sequence[tuple[str, Sequence[Point]]], *, stops: Sequence[float], title: str
) -> tuple[str, str]:
    """The proxy and the held-out judge, over sqrt(KL): a line for each way to optimise; `stops` are marked."""
    proxy = _over(found, lambda p: p.proxy, name="reward model's score (what was optimised)", title=f"{title}, proxy")
    wanted = "held-out judge (what was wanted)"
    return proxy, _over(found, lambda p: p.judge, name=wanted, title=f"{title}, judge", stops=stops)


def _over(
    found: Sequence[tuple[str, Sequence[Point]]],
    side: Callable[[Point], float | None],
    *,
    name: str,
    title: str,
    stops: Sequence[float] = (),
) -> str:
    figure = _figure(4.4, 3.0)
    axes = figure.add_subplot()
    for k, (label, points) in enumerate(found):
        told = [(p.distance, value) for p in points if (value := side(p)) is not None]
        if told:
            xs, ys = zip(*told, strict=True)
            style = "-" if len(told) > 2 and label.startswith("PPO") else "--"
            colour = COLOURS[k % len(COLOURS)]
            axes.plot(xs, ys, style, color=colour, marker="o", markersize=3.5, linewidth=1.5, label=label)
    for stop in stops:
        axes.axvline(stop, color=COLOURS[4], linewidth=1, linestyle=(0, (3, 3)))
        place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        axes.annotate("stop", (stop, 0.02), (3, 0), **place, fontsize=8.5, color=COLOURS[4])  # type: ignore[arg-type]
    axes.set_title(name, loc="left", fontsize=10, color=_INK)
    axes.set_xlabel("sqrt(KL to the reference), nats a text", fontsize=9)
    axes.tick_params(labelsize=8.5)
    axes.legend(frameon=False, fontsize=8)
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
