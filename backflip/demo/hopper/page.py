"""The demo's last word: a GIF of before and after, and one HTML file with it, the figures and the curves."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backflip.control.drawing import draw, gif
from backflip.control.evaluator import Evaluation
from backflip.control.planar import Scene
from backflip.demo.curves import series
from backflip.recipes.control_processes import Config as Training
from backflip.runs.files import atomic_write_bytes, atomic_write_text
from backflip.runs.metrics import read_metrics

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["chart", "film", "write_page"]

_SIDE: Final = 260
_EVERY: Final = 3  # steps from one picture to the next: 24 ms, shown in 60: two and a half times slower than real time
_FPS: Final = 100 / 6
_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
figure { margin: 1.5rem 0; } img { max-width: 100%; border-radius: .5rem; }
table { border-collapse: collapse; } td, th { padding: .2rem 1rem .2rem 0; text-align: right; }
th:first-child { text-align: left; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.5rem; }
svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: currentColor; }
.line { fill: none; stroke: #2f6fde; stroke-width: 2; } .axis { stroke: currentColor; opacity: .3; }
"""


def film(before: Evaluation, after: Evaluation, *, shown: int) -> bytes:
    """A GIF: the first episode before training, and the first after it, side by side."""
    return gif(_frames(before, after, shown), fps=_FPS)


def _frames(before: Evaluation, after: Evaluation, shown: int) -> Iterator[Image]:
    from PIL import Image as Images

    scenes = [Scene("hopper", seen.poses[0][: shown + 1]) for seen in (before, after) if seen.poses is not None]
    for frame in range(0, len(scenes[0]), _EVERY):
        both = Images.new("RGB", (2 * _SIDE + 4, _SIDE), "#8290a3")
        for i, scene in enumerate(scenes):
            both.paste(draw(scene, frame, width=_SIDE, height=_SIDE), (i * (_SIDE + 4), 0))
        yield both


def write_page(
    folder: Path, training: Training, before: Evaluation, after: Evaluation, figures: Mapping[str, Any], *, shown: int
) -> Path:
    """Writes hopper.gif and index.html; returns the latter's path."""
    picture = film(before, after, shown=shown)
    atomic_write_bytes(folder / "hopper.gif", picture)
    path = folder / "index.html"
    atomic_write_text(path, _page(training, figures, picture))
    return path


def _page(training: Training, figures: Mapping[str, Any], picture: bytes) -> str:
    who = "a person" if figures["human"] else "a simulated teacher, one answer in ten wrong"
    source = base64.b64encode(picture).decode()
    result = figures["result"]
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>A Hopper that learned from comparisons</title><style>{_STYLE}</style>
<h1>A Hopper that learned from comparisons</h1>
<p>{html.escape(training.wanted)} Asked of {who}, {result["answers"]} times, about clips of {training.clip} steps.
The agent saw no reward; {result["steps"]:,} steps in {figures["seconds"] / 60:.1f} minutes.</p>
<figure><img src="data:image/gif;base64,{source}" alt="The robot before training and after it, side by side">
<figcaption>Before, and after; {1 / (0.008 * _EVERY * _FPS):.1f} times slower than real time.</figcaption></figure>
{_table(training, figures)}
<h2>How it went</h2><div class="charts">{"".join(_charts(training))}</div>
<p>{training.episodes} episodes of {training.evaluation_horizon} steps each, from starts that were not trained on; one
seed. The true return is Gymnasium's; the agent never saw it.</p>
</html>
"""


def _table(training: Training, figures: Mapping[str, Any]) -> str:
    names = {
        "net_turns": "turns backwards per 1000 steps",
        "airborne_turns": "of these in the air",
        "clean_flips": "clean flips per 1000 steps",
        "body_floor_share": "share of steps with the body on the floor",
        "metres": "metres forward",
        "true_return": "true return",
    }
    rows = "".join(
        f"<tr><th>{label}</th><td>{figures['before'][name]:.2f}</td><td>{figures['after'][name]:.2f}</td></tr>"
        for name, label in names.items()
    )
    seconds = training.evaluation_horizon * 0.008
    return f"<table><tr><th>in {seconds:.0f} seconds</th><th>before</th><th>after</th></tr>{rows}</table>"


def _charts(training: Training) -> Iterator[str]:
    agent, predictor = read_metrics(training.folder), read_metrics(training.predictors)
    look = training.folder / "look.json"
    history = json.loads(look.read_bytes())["history"] if look.exists() else []
    yield chart("answers heard", [(s, float(line["control/answers"])) for s, line in _by_steps(agent)])
    yield chart("answers foretold, held out", series(predictor, "predictor/held_out_accuracy"), across="fits")
    yield chart("true return of one episode", [(h["steps"], h["true_return"]) for h in history])
    known = [(h["steps"], h["correlation"]) for h in history if h["correlation"] is not None]
    yield chart("correlation of predicted and true reward", known)


def _by_steps(lines: Sequence[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
    return [(int(line["control/steps"]), line) for line in lines]


def chart(title: str, points: Sequence[tuple[float, float]], *, across: str = "steps") -> str:
    """A line through points as SVG; nothing where there are fewer than two."""
    if len(points) < 2:
        return ""
    xs, ys = zip(*points, strict=True)
    low, high = min(ys), max(ys)
    wide, tall = (max(xs) - min(xs)) or 1.0, (high - low) or 1.0
    line = " ".join(f"{40 + 310 * (x - min(xs)) / wide:.1f},{150 - 130 * (y - low) / tall:.1f}" for x, y in points)
    return (
        f'<figure><figcaption>{html.escape(title)}</figcaption><svg viewBox="0 0 360 175" role="img" '
        f'aria-label="{html.escape(title)}: from {ys[0]:.2f} to {ys[-1]:.2f}">'
        f'<path class="axis" d="M40 150H350M40 20V150"/><polyline class="line" points="{line}"/>'
        f'<text x="36" y="24" text-anchor="end">{high:.4g}</text>'
        f'<text x="36" y="154" text-anchor="end">{low:.4g}</text>'
        f'<text x="350" y="168" text-anchor="end">{max(xs):,.0f} {across}</text></svg></figure>'
    )
