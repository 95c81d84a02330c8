"""What the demo found: `summary.json`, and the same on the terminal with an honest caption."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from backflip import __version__, pipeline
from backflip.demo.curves import curves
from backflip.evaluation.table import side_by_side
from backflip.feedback.intervals import told
from backflip.lm.hub import ModelSource
from backflip.recipes import evaluate, reward
from backflip.runs import atomic_write_json, read_metrics, read_run

__all__ = ["Timed", "show", "write_summary"]

_SIMULATED = (
    "The labeller is a simulated judge: rules for plain words, a few whole sentences, ending by itself, saying nothing "
    "twice, staying on the topic. It reads neither truth nor sense."
)
_HUMAN = (
    "The labeller was you. Who compares in the table, and chose PPO's checkpoint, is still the simulated judge: rules "
    "that never saw your rankings and may disagree with them; the reward model's score is what was learned from you."
)
_SMALL = (
    "The base model was already instruction-tuned. A model of 135 million parameters gets facts wrong: do not trust "
    "what it says of the world."
)
_RANDOM = "The base model is two layers of random weights: all that can be seen here is that every stage runs."
_CAPTION = (
    "Figures are of answers sampled at temperature 1, with 95 % intervals over prompts; the "
    "answers above are greedy (the best of n is sampled). PPO's checkpoint was chosen on validation prompts, by this "
    "same judge; these test prompts were scored once."
)


class Timed(NamedTuple):
    """Seconds to fetch the model, and of this whole call."""

    fetch: float
    total: float


def write_summary(
    folder: Path, loop: pipeline.Config, result: pipeline.Result, source: ModelSource, timed: Timed
) -> Path:
    """Writes `summary.json` (form: docs/demo.md) and returns its path; folders in it are relative to where we stand."""
    last = result.rounds[-1]
    path = folder / "summary.json"
    content = {
        "simulated": loop.labellers == "simulated",
        "held_out_prompts": result.evaluation.prompts,
        "policies": {name: _policy(figures) for name, figures in result.evaluation.policies.items()},
        "reward_model": {"held_out_accuracy": last.reward.accuracy, "pairs": last.reward.pairs},
        "models": {
            "sft": _relative(result.sft.model),
            "reward": _relative(last.reward.model),
            "ppo": _relative(last.ppo.model),
        },
        "seconds": _seconds(folder, loop, timed),
        "greedy": {name: _greedy(figures) for name, figures in result.evaluation.policies.items()},
        "ppo": {"updates": last.ppo.updates, "best_update": last.ppo.best_update, "stopped": last.ppo.stopped},
        "base_model": {"source": source.source, "sha256": source.sha256},
        "seed": loop.seed,
        "rounds": loop.rounds,
        "version": __version__,
        "machine": _machine(),
        "answers": list(result.evaluation.shown),
    }
    atomic_write_json(path, content)
    return path


def _policy(figures: Mapping[str, Any]) -> dict[str, Any]:
    rates, near = figures["win_rates"]["judge"], figures["same_length"]["judge"]
    return {
        "judge": figures["judges"]["judge"],
        "win_rate_vs_base": rates.get("base"),
        "win_rate_vs_sft": rates.get("sft"),
        "win_rate_vs_sft_same_length": near.get("sft"),
        "rm": figures["rm"],
        "kl_to_sft": figures["kl"]["value"] if figures["kl"] else None,
        "kl_is_a_bound": bool(figures["kl"] and figures["kl"]["bound"]),
        "tokens": figures["tokens"],
        "eos_share": figures["eos_share"],
    }


def _greedy(figures: Mapping[str, Any]) -> dict[str, Any] | None:
    found = figures.get("greedy")
    return (
        None if not found else {k: v for k, v in _policy(found).items() if k.startswith(("judge", "win", "tok", "eos"))}
    )


def _seconds(folder: Path, loop: pipeline.Config, timed: Timed) -> dict[str, float]:
    """Seconds of every stage as its run recorded them, also where this call found it done; `total` is their sum."""
    found: dict[str, float] = {"model": round(timed.fetch, 1)}
    for stage in pipeline.stages(loop):
        run = read_run(stage.folder)
        name = stage.name if loop.rounds == 1 else str(stage.folder.relative_to(folder))
        found[name] = round(run.seconds, 1) if run else 0.0
    found["total"] = round(sum(seconds for name, seconds in found.items() if name != "model"), 1)
    found["this_call"] = round(timed.total, 1)
    return found


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _relative(path: str) -> str:
    return os.path.relpath(path)


def show(path: Path, result: pipeline.Result, console: Console, *, simulated: bool, tiny: bool) -> None:
    """Answers side by side, PPO's curves, the table, the reward model's accuracy and the caption, in 80 columns."""
    for row in result.evaluation.shown:
        console.print(side_by_side(row), "")
    for number, one in enumerate(result.rounds, start=1):
        of_round = f" of round {number}" if len(result.rounds) > 1 else ""
        title = f"PPO{of_round}, {one.ppo.updates} updates; update {one.ppo.best_update} is kept"
        console.print(curves(read_metrics(Path(one.ppo.model).parent), title), "")
    console.print(_table(result.evaluation), "")
    console.print(_reward_line(result.rounds[-1].reward), "", highlight=False)
    caption = f"{_SIMULATED if simulated else _HUMAN} {_RANDOM if tiny else _SMALL} {_CAPTION}"
    console.print(Panel(Text(caption), title="read this too", title_align="left"))
    console.print(f"all of it lies in {path.parent}; the figures are in {path}", highlight=False)


def _table(found: evaluate.Result) -> Table:
    """A column a policy, PPO's in bold; intervals under their values."""
    headings = [Text(_NAMES.get(name, name), style="bold" * (name == "ppo")) for name in found.policies]
    title = f"blind comparison on {found.prompts} held-out prompts, by a simulated judge"
    columns = [Column(heading, justify="right", no_wrap=True) for heading in headings]
    table = Table("", *columns, title=title, title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for label, line in _LINES.items():
        cells = [line(_policy(figures)) for figures in found.policies.values()]
        bold = ["bold" * (name == "ppo") for name in found.policies]
        table.add_row(label, *(Text(cell, style=style) for cell, style in zip(cells, bold, strict=True)))
        if label == _JUDGED:
            _add_parts(table, [figures["judges"]["judge"]["parts"] for figures in found.policies.values()])
    return table


def _add_parts(table: Table, parts: Sequence[Mapping[str, float]]) -> None:
    for part in parts[0]:
        table.add_row(f"  {part}", *(f"{one[part]:.2f}" for one in parts), style="dim")


def _interval(name: str, form: str) -> Callable[[Mapping[str, Any]], str]:
    def cell(figures: Mapping[str, Any]) -> str:
        rate = figures[name]
        if rate is None:
            return "-"
        return told(rate, form, between="\n{}–{}", none="\nnone").replace("%–", "–")

    return cell


def _kl(figures: Mapping[str, Any]) -> str:
    value = figures["kl_to_sft"]
    return "-" if value is None else f"{'≤ ' * figures['kl_is_a_bound']}{value:z.1f}"


_NAMES = {"base": "base", "base_prompted": "base,\nprompted", "sft": "SFT", "best_of_n": "best\nof n", "ppo": "PPO"}
_JUDGED = "judge's score, 0 to 1"
_LINES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    _JUDGED: _interval("judge", ".2f"),
    "wins against base": _interval("win_rate_vs_base", ".0%"),
    "wins against SFT": _interval("win_rate_vs_sft", ".0%"),
    "  at the same length": _interval("win_rate_vs_sft_same_length", ".0%"),
    "reward model's score": lambda figures: "-" if figures["rm"] is None else f"{figures['rm']:z.2f}",
    "KL to SFT, nats": _kl,
    "tokens": lambda figures: f"{figures['tokens']:.0f}",
    "ended by itself": lambda figures: f"{figures['eos_share']:.0%}",
}


def _reward_line(learned: reward.Result) -> str:
    about = f"reward model: trained on {learned.pairs} pairs of {learned.questions} questions; "
    if learned.accuracy is None:
        return f"{about}nothing was held out"
    return f"{about}orders {told(learned.accuracy, '.0%')} of {learned.held_out_pairs} held-out pairs right"
