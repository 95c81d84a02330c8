"""A table's cells: runs, each in its own folder, told as rows of JSON when they have ended.

Several processes may work at one table: each claims a cell while it runs it. All that a killed one had done is in the
cell's folder, and whoever takes that cell up goes on from its last checkpoint.
"""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backflip.errors import BackflipError
from backflip.recipes import control
from backflip.runs import atomic_write_json, read_run
from backflip.runs.lineage import RunRecord
from backflip.runs.version import code_version

__all__ = ["Cell", "Row", "Table", "control_row", "rows", "run_missing", "status", "write_results"]

Row = dict[str, Any]

_log = logging.getLogger(__name__)


def control_row(config: Any, record: RunRecord) -> Row:
    """A run of control in the form that all tables share.

    `seconds` are of one core's work (the machine may be shared), `wall_seconds` from begin to end.
    """
    result = record.result
    simulated = config.reward == "answers"
    row: Row = {
        "env": config.env.env,
        "reward": _reward(config),
        "algorithm": config.algorithm,
        "answers": result["answers"],
        "mistakes": config.teacher.mistakes if simulated else None,
        "seed": config.seed,
        "steps": result["steps"] if config.reward != "random" else 0,
        "seconds": result["cpu_seconds"],
        "wall_seconds": round(record.seconds, 1),
        "true_return": result["true_return"],
    }
    if (flips := result["flips"]) is not None and config.teacher.goal == "backflip":
        row["clean_flips_per_1000_steps"] = flips["clean_flips"]
        row |= {name: flips[name] for name in ("net_turns", "airborne_turns", "body_floor_share", "upright_landings")}
    return row | (result.get("measured") or {})


def _reward(config: control.Config) -> str:
    return "true" if config.reward == "teacher_score" and config.teacher.goal == "reward" else config.reward


@dataclass(frozen=True)
class Cell:
    """One run: a name that is its folder's, its configuration (of `run`), and how its row is made."""

    name: str
    config: Any
    run: Callable[[Any], object] = control.run
    row: Callable[[Any, RunRecord], Row] = control_row
    work: float = 1.0
    """How much there is to do in it, in a unit that all cells of its group share (environment steps)."""
    group: str = ""
    """Cells of one group cost as much for as much work."""


@dataclass(frozen=True)
class Table:
    """A table's name, its cells in the order in which they are run, and what to say of it in the results."""

    name: str
    cells: Sequence[Cell]
    about: str
    summary: Callable[[Sequence[Row]], Mapping[str, Any]] | None = None
    """What the rows that are there say together; it stands in the results beside them."""


def status(cell: Cell) -> str:
    """done, or how far it is."""
    record = read_run(cell.config.folder)
    return "missing" if record is None else record.status


def run_missing(table: Table, *, out: Path, most: int = 0, only: str = "", anew: bool = False) -> list[str]:
    """Runs the cells that have not ended (at most `most` of them, 0 for all), and writes the results after each.

    What another process is at is left to it. A cell that fails is passed over: its error is returned, and stands in the
    results. With `anew`, what was begun and not ended is begun from nothing: after a change of settings it could not
    go on.
    """
    begun, errors = 0, []
    for cell in table.cells:
        if only not in cell.name or (most and begun >= most):
            continue
        with _claimed(cell) as mine:
            if not mine or status(cell) == "done":
                continue
            begun += 1
            if anew:
                shutil.rmtree(cell.config.folder, ignore_errors=True)
            print(f"{table.name}: {cell.name}", flush=True)
            try:
                told = cell.run(cell.config)
                print(f"  {told or 'done'}", flush=True)
            except BackflipError as error:
                _log.error("%s: %s", cell.name, error)
                errors.append(f"{cell.name}: {error}")
            write_results(table, out=out)
    return errors


@contextmanager
def _claimed(cell: Cell) -> Iterator[bool]:
    """Whether nobody else is at the cell; while the block lasts, nobody else will be. The claim dies with its process.

    The file lies beside the folder, so that the folder itself may be deleted to begin the cell anew.
    """
    folder = Path(cell.config.folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.claim").open("w") as claim:
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def rows(table: Table) -> list[Row]:
    """Those of all cells that have ended, in the table's order."""
    records = [(cell, read_run(cell.config.folder)) for cell in table.cells]
    return [cell.row(cell.config, record) for cell, record in records if record is not None and record.status == "done"]


def write_results(table: Table, *, out: Path) -> int:
    """Writes the rows of all cells that have ended; returns how many there are."""
    folder = Path(table.cells[0].config.folder).parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "results.lock").open("w") as lock:  # else an older reading might be written over a newer one
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = rows(table)
        content = {
            "about": table.about,
            "command": f"python -m experiments {table.name}",
            "version": code_version(),
            "machine": {"cores": os.cpu_count(), "threads": 1, "architecture": platform.machine()},
            "cells": len(table.cells),
            "runs": found,
        }
        if table.summary is not None and found:
            content["summary"] = table.summary(found)
        if failed := _failed(table):
            content["failed"] = failed
        atomic_write_json(out, content)
    return len(found)


def _failed(table: Table) -> dict[str, str | None]:
    """What cells ended by an error, and which; they are tried again by the next command."""
    records = [(cell.name, read_run(cell.config.folder)) for cell in table.cells]
    return {name: record.error for name, record in records if record is not None and record.status == "failed"}
