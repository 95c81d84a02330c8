"""What the demo found: `summary.json`, and the same on the terminal with an honest caption."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from backflip import __version__, pipeline
from backflip.evaluation.table import side_by_side
from backflip.lm.hub import ModelSource
from backflip.runs import atomic_write_json, read_run

__all__ = ["Timed", "show", "write_summary"]

_SIMULATED = (
    "The labeller is a simulated judge: rules for plain words, a few whole sentences, ending by itself, saying nothing "
    "twice, staying on the topic. It reads neither truth nor sense. "
)
_CAPTION = (
    "The base model was already instruction-tuned. A model of 135 million parameters gets facts wrong: do not trust "
    "what it says of the world. Figures are of answers sampled at temperature 1, with 95 % intervals over prompts; the "
    "answers above are greedy. Checkpoints were chosen on validation prompts; these test prompts were scored once."
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
    stages = ["sft", *(f"round-{n}/{s}" for n in range(1, loop.rounds + 1) for s in ("sample", "ask", "reward", "ppo"))]
    found: dict[str, float] = {"model": round(timed.fetch, 1)}
    for stage in (*stages, "evaluate"):
        run = read_run(folder / stage)
        name = stage.rpartition("/")[2] if loop.rounds == 1 else stage
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


def show(path: Path, result: pipeline.Result, console: Console, *, simulated: bool) -> None:
    """The table, the reward model's accuracy, answers side by side, and the caption."""
    for row in result.evaluation.shown:
        console.print(side_by_side(row))
    console.print(_table(result.evaluation.policies, simulated=simulated))
    console.print(_parts(result.evaluation.policies))
    console.print(str(result.rounds[-1].reward), highlight=False)
    console.print(Group(Text(""), Panel(Text((_SIMULATED if simulated else "") + _CAPTION), title="read this too")))
    console.print(f"all of it lies in {path.parent}; the figures are in {path}", highlight=False)


def _table(policies: Mapping[str, Any], *, simulated: bool) -> Table:
    judge = "simulated judge"
    columns = ("policy", judge, "wins vs base", "wins vs SFT", "same length", "RM", "KL to SFT", "tokens", "ended")
    table = Table(
        *columns, title="blind comparison on held-out prompts" + (", by a simulated judge" if simulated else "")
    )
    for name, figures in policies.items():
        cells = _policy(figures)
        kl = "-" if cells["kl_to_sft"] is None else f"{'≤ ' * cells['kl_is_a_bound']}{cells['kl_to_sft']:.1f}"
        table.add_row(
            name,
            _interval(cells["judge"], ".3f"),
            *(_interval(cells[f"win_rate_vs_{other}"], ".0%") for other in ("base", "sft", "sft_same_length")),
            "-" if cells["rm"] is None else f"{cells['rm']:.2f}",
            kl,
            f"{cells['tokens']:.0f}",
            f"{cells['eos_share']:.0%}",
        )
    return table


def _parts(policies: Mapping[str, Any]) -> Table:
    names = list(next(iter(policies.values()))["judges"]["judge"]["parts"])
    table = Table("policy", *names, title="the judge's parts, 0 to 1")
    for name, figures in policies.items():
        table.add_row(name, *(f"{figures['judges']['judge']['parts'][part]:.2f}" for part in names))
    return table


def _interval(found: Mapping[str, float] | None, form: str) -> str:
    if found is None:
        return "-"
    return f"{found['value']:{form}} ({found['low']:{form}}-{found['high']:{form}})"
