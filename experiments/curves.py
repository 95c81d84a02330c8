"""`python -m experiments.curves RUNS OUT`: clean flips by steps, median and range over seeds, as one SVG.

What is counted is the policy that explores, on the episodes that it trains on: not the evaluation of the table.
"""

from __future__ import annotations

import html
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from backflip.runs import atomic_write_text, read_metrics, read_run

__all__ = ["draw", "main", "medians"]

Band = list[tuple[int, float, float, float]]  # steps, median, lowest, highest
_SMOOTH = 5  # rollouts that are averaged
_COLOURS = {
    "answers-300": "#2f6fde",
    "hand-written": "#f0883e",
    "teacher-score": "#3a9d5d",
    "answers-900": "#7a5cc9",
    "answers-100": "#c2476b",
}
_LEFT, _TOP, _WIDE, _TALL = 46, 16, 560, 230


def medians(runs: Path, kind: str, metric: str = "flips/clean_flips") -> Band:
    """Of all runs `KIND-seed-N` that have ended."""
    seeds = [_curve(folder, metric) for folder in sorted(runs.glob(f"{kind}-seed-*")) if _ended(folder)]
    places = sorted(set.intersection(*(set(curve) for curve in seeds))) if seeds else []
    rows = [(place, [curve[place] for curve in seeds]) for place in places]
    return [(place, statistics.median(values), min(values), max(values)) for place, values in rows]


def _ended(folder: Path) -> bool:
    record = read_run(folder)
    return record is not None and record.status == "done"


def _curve(folder: Path, metric: str) -> dict[int, float]:
    lines = [line for line in read_metrics(folder) if metric in line]
    values = [float(line[metric]) for line in lines]
    smooth = [statistics.fmean(values[max(0, i - _SMOOTH + 1) : i + 1]) for i in range(len(values))]
    return {int(line["control/steps"]): value for line, value in zip(lines, smooth, strict=True)}


def draw(bands: Mapping[str, Band]) -> str:
    """The chart; kinds without a run are left out."""
    known = {kind: band for kind, band in bands.items() if band}
    last = max((row[0] for band in known.values() for row in band), default=1)
    top = max((row[3] for band in known.values() for row in band), default=1.0) or 1.0

    def at(steps: int, value: float) -> str:
        return f"{_LEFT + _WIDE * steps / last:.1f},{_TOP + _TALL * (1 - value / top):.1f}"

    parts = [f'<path d="M{_LEFT} {_TOP}V{_TOP + _TALL}H{_LEFT + _WIDE}" fill="none" stroke="#8290a3"/>']
    for place, (kind, band) in enumerate(known.items()):
        colour = _COLOURS.get(kind, "#6b7787")
        edge = [at(s, high) for s, _, _, high in band] + [at(s, low) for s, _, low, _ in reversed(band)]
        parts.append(f'<polygon points="{" ".join(edge)}" fill="{colour}" opacity="0.15"/>')
        line = " ".join(at(s, middle) for s, middle, _, _ in band)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(_LEFT + 12, _TOP + 14 + 16 * place, kind, colour))
    parts.append(_text(_LEFT + _WIDE, _TOP + _TALL + 18, f"{last / 1e6:.1f} million steps", "#6b7787", "end"))
    parts.append(_text(_LEFT - 6, _TOP + 10, f"{top:.1f}", "#6b7787", "end"))
    parts.append(_text(_LEFT - 6, _TOP + _TALL, "0", "#6b7787", "end"))
    size = f"0 0 {_LEFT + _WIDE + 14} {_TOP + _TALL + 28}"
    about = "Clean flips per 1000 steps while training, by environment steps"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" font-family="sans-serif" font-size="12" role="img">'
        f"<title>{about}</title>{''.join(parts)}</svg>\n"
    )


def _text(x: float, y: float, words: str, colour: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}">{html.escape(words)}</text>'


def main(words: Sequence[str]) -> int:
    """Writes the chart."""
    if len(words) != 2:
        print(f"{__doc__}\nwanted RUNS and OUT", file=sys.stderr)
        return 2
    runs, out = map(Path, words)
    atomic_write_text(out, draw({kind: medians(runs, kind) for kind in _COLOURS}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
