"""A table's cells: runs of the control recipe, each in its own folder, told as rows of JSON when they have ended."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backflip.recipes.control import Config, run
from backflip.runs import atomic_write_json, read_run
from backflip.runs.version import code_version

__all__ = ["Cell", "Table", "run_missing", "status", "write_results"]


@dataclass(frozen=True)
class Cell:
    """One run: a name that is its folder's, and its configuration in that folder."""

    name: str
    config: Config


@dataclass(frozen=True)
class Table:
    """A table's name, its cells in the order in which they are run, and what to say of it in the results."""

    name: str
    cells: Sequence[Cell]
    about: str


def status(cell: Cell) -> str:
    """done, or how far it is."""
    record = read_run(cell.config.folder)
    return "missing" if record is None else record.status


def run_missing(table: Table, *, out: Path, most: int = 0, only: str = "") -> None:
    """Runs the cells that have not ended (at most `most` of them, 0 for all), and writes the results after each.

    What another process is at is left to it, so that the command may be given twice.
    """
    begun = 0
    for cell in table.cells:
        if only not in cell.name or status(cell) in ("done", "running") or (most and begun >= most):
            continue
        begun += 1
        print(f"{table.name}: {cell.name}", flush=True)
        print(f"  {run(cell.config)}", flush=True)
        write_results(table, out=out)


def write_results(table: Table, *, out: Path) -> int:
    """Writes the rows of all cells that have ended; returns how many there are."""
    rows = [row for cell in table.cells if (row := _row(cell)) is not None]
    content = {
        "about": table.about,
        "command": f"python -m experiments {table.name}",
        "version": code_version(),
        "machine": {"cores": os.cpu_count(), "threads": 1, "architecture": platform.machine()},
        "cells": len(table.cells),
        "runs": rows,
    }
    atomic_write_json(out, content)
    return len(rows)


def _row(cell: Cell) -> dict[str, Any] | None:
    """`seconds` are of one core's work (the machine may be shared), `wall_seconds` from begin to end."""
    record, config = read_run(cell.config.folder), cell.config
    if record is None or record.status != "done":
        return None
    result = record.result
    row: dict[str, Any] = {
        "env": config.env.env,
        "reward": config.reward,
        "algorithm": config.algorithm,
        "answers": result["answers"],
        "mistakes": config.teacher.mistakes if config.reward == "answers" else None,
        "seed": config.seed,
        "steps": result["steps"],
        "seconds": result["cpu_seconds"],
        "wall_seconds": round(record.seconds, 1),
        "true_return": result["true_return"],
    }
    if (flips := result["flips"]) is not None:
        row["clean_flips_per_1000_steps"] = flips["clean_flips"]
        row |= {name: flips[name] for name in ("net_turns", "airborne_turns", "body_floor_share", "upright_landings")}
    return row
