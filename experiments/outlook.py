"""How far a table is, and how long the rest will take: told from what ended cells took for as much work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from backflip.runs import read_run
from backflip.runs.metrics import read_metrics
from experiments.cells import Cell, Table, status

__all__ = ["Outlook", "outlook", "share"]


@dataclass(frozen=True)
class Outlook:
    """`hours` are of one core; None while no cell has ended."""

    done: int
    under_way: int
    cells: int
    hours: float | None

    def __str__(self) -> str:
        left = (
            "how long the rest takes is not known yet" if self.hours is None else f"about {self.hours:.1f} hours left"
        )
        core = "" if self.hours is None else " on one core"
        return f"{self.done} of {self.cells} cells done, {self.under_way} under way, {left}{core}"


def share(cell: Cell) -> float:
    """How much of a cell is done, from 0 to 1, by the last line of its metrics."""
    state = status(cell)
    if state in ("done", "missing"):
        return float(state == "done")
    lines = read_metrics(cell.config.folder)
    return min(1.0, float(lines[-1].get("control/steps", 0)) / cell.work) if lines else 0.0


def outlook(table: Table) -> Outlook:
    """Counts, and hours for what is left: each cell's work at its group's pace, or at all cells'."""
    shares = [share(cell) for cell in table.cells]
    states = [status(cell) for cell in table.cells]
    paces = [(cell.group, pace) for cell in table.cells if (pace := _pace(cell)) is not None]
    left = [(cell, 1 - done) for cell, done in zip(table.cells, shares, strict=True) if done < 1]
    hours = sum(cell.work * part * _of_group(cell.group, paces) for cell, part in left) / 3600 if paces else None
    return Outlook(states.count("done"), states.count("running"), len(states), hours if left else 0.0)


def _pace(cell: Cell) -> float | None:
    """Seconds of one core for a unit of work, of a cell that has ended."""
    record = read_run(cell.config.folder)
    if record is None or record.status != "done":
        return None
    return float(record.result.get("cpu_seconds", record.seconds)) / cell.work


def _of_group(group: str, paces: Sequence[tuple[str, float]]) -> float:
    return fmean([pace for name, pace in paces if name == group] or [pace for _, pace in paces])
