"""`python -m experiments.pages`: the tables of docs/experiments.md, made from docs/results/*.json; no figure is copied.

It rewrites what stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from backflip.runs import atomic_write_text
from experiments.ratios import kind_of

__all__ = ["PAGE", "main", "rendered"]

ROOT = Path(__file__).resolve().parents[1]
PAGE: Final = Path("docs/experiments.md")
_BLOCK: Final = re.compile(r"(<!-- table: ([a-z0-9_]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

Row = Mapping[str, Any]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))


def _seeds(values: Sequence[float], form: str = ",.0f") -> str:
    """The mean, and each seed's where there are several: none is picked."""
    each = f" ({', '.join(f'{v:{form}}' for v in values)})" if len(values) > 1 else ""
    return f"{fmean(values):{form}}{each}"


def _grouped(rows: Sequence[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def _progress(found: Row) -> str:
    return f"{len(found['runs'])} of {found['cells']} cells have ended; {found['about']}."


def _mujoco(found: Row) -> str:
    """Returns by task and kind, the ratios beside them, and their geometric means."""
    kinds = list(_grouped(found["runs"], kind_of))
    by_task = _grouped(found["runs"], lambda row: row["env"])
    summary = found.get("summary", {})
    rows = []
    for env, runs in by_task.items():
        by_kind = _grouped(runs, kind_of)
        cells = []
        for kind in kinds:
            returns = [row["true_return"] for row in by_kind.get(kind, [])]
            ratio = summary.get(kind, {}).get("tasks", {}).get(env)
            beside = "" if ratio is None else f" = {ratio[0]:.2f}"
            cells.append(f"{_seeds(returns)}{beside}" if returns else "-")
        rows.append([env, *cells])
    means = [f"{kind}: {told['geometric_mean']:.2f} over {len(told['tasks'])} tasks" for kind, told in summary.items()]
    said = f"Geometric mean of the ratios to the true reward: {'; '.join(means)}." if means else ""
    return "\n\n".join(part for part in (_table(["task", *kinds], rows), said, _progress(found)) if part)


def _novel(found: Row) -> str:
    parts = []
    for measure, others in (
        ("one_legged_metres", ("one_legged_share", "metres", "hind_foot_share")),
        ("upright_share", ("longest_stand", "strayed_metres", "body_share")),
    ):
        by_kind = _grouped([row for row in found["runs"] if measure in row], kind_of)
        names = (measure, *others)
        rows = [[kind, *(_seeds([row[n] for row in runs], ".2f") for n in names)] for kind, runs in by_kind.items()]
        parts += [_table(["learned from", *(n.replace("_", " ") for n in names)], rows)] if rows else []
    return "\n\n".join([*parts, _progress(found)])


def _labels(found: Row) -> str:
    """The predictor's agreement, and who is taken for a labeller who answers at random."""

    def rate(value: Sequence[float]) -> str:
        return f"{value[0]:.0%} ({value[1]:.0%} to {value[2]:.0%})"

    learned = [
        [
            row["learned_from"],
            str(row["answers"]),
            rate(row["agrees_with_person"]),
            rate(row["agrees_with_true_return"]),
        ]
        for row in found["runs"]
        if "learned_from" in row
    ]
    taken = [row for row in found["runs"] if "taken_for_random" in row]
    names = list(taken[0]["taken_for_random"]) if taken else []
    chances = [[str(row["answers_each"]), *(rate(row["taken_for_random"][name]) for name in names)] for row in taken]
    return "\n\n".join(
        (
            _table(["learned from", "answers", "agrees with the person", "agrees with the true return"], learned),
            _table(["answers each", *(f"{name}: called random" for name in names)], chances),
            _progress(found),
        )
    )


def _ablation(found: Row) -> str:
    summary = found.get("summary", {})
    variants = list(dict.fromkeys(row["variant"] for row in found["runs"]))
    rows = []
    for variant in variants:
        told = [summary[env].get(variant) for env in summary]
        rows.append([variant, *("-" if t is None else f"{_spread(t['return'])}, {t['seeds']} seeds" for t in told)])
    return f"{_table(['variant', *summary], rows)}\n\n{_progress(found)}"


def _spread(value: Sequence[float]) -> str:
    return f"{value[0]:,.0f} ({value[1]:,.0f} to {value[2]:,.0f})"


def _atari(found: Row) -> str:
    by_kind = _grouped(found["runs"], lambda row: (row["env"], kind_of(row), row["steps"]))
    rows = [
        [env, kind, f"{steps:,}", _seeds([row["true_return"] for row in runs], ",.1f")]
        for (env, kind, steps), runs in by_kind.items()
    ]
    return f"{_table(['game', 'learned from', 'agent steps', 'true return'], rows)}\n\n{_progress(found)}"


_BLOCKS: Final[Mapping[str, Callable[[Row], str]]] = {
    "mujoco": _mujoco,
    "novel": _novel,
    "walker2d_labels": _labels,
    "ablation": _ablation,
    "atari": _atari,
}


def rendered(text: str, root: Path = ROOT) -> str:
    """The page with every block made anew. Raises KeyError at a block of another name."""

    def block(match: re.Match[str]) -> str:
        name = match[2]
        path = root / "docs" / "results" / f"{name}.json"
        made = _BLOCKS[name]
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"runs": []}
        missing = f"No cell has ended yet: there is no `docs/results/{name}.json`."
        return f"{match[1]}{made(known) if known['runs'] else missing}\n{match[4]}"

    return _BLOCK.sub(block, text)


def main() -> None:
    """Rewrites the page."""
    path = ROOT / PAGE
    atomic_write_text(path, rendered(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
