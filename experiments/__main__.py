"""`python -m experiments NAME`: lists a table's cells, runs the missing ones one after the other, writes the results.

It may be stopped at any time; the same command goes on with the cell that was under way.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro

from backflip.recipes.command import exit_code
from experiments.cells import Table, run_missing, status, write_results


@dataclass(frozen=True)
class Wanted:
    """Runs the cells of a table that have not ended yet."""

    table: tyro.conf.Positional[Literal["backflip", "agents"]]
    """Which table."""
    runs: Path = Path("runs")
    """Where the cells' folders are."""
    out: Path | None = None
    """The results; docs/results/TABLE.json by default."""
    list: bool = False
    """Only says how far each cell is."""
    collect: bool = False
    """Only writes the results of the cells that have ended."""
    most: int = 0
    """Run at most so many cells; 0: all."""
    only: str = ""
    """Run only cells whose name has this in it."""
    threads: int = 1
    """Threads of torch."""


def main() -> None:
    """Reads the command line."""
    wanted = tyro.cli(Wanted, description=__doc__)
    torch.set_num_threads(wanted.threads)
    table: Table = importlib.import_module(f"experiments.{wanted.table}").table(wanted.runs / wanted.table)
    out = wanted.out or Path("docs/results") / f"{table.name}.json"
    if wanted.list:
        for cell in table.cells:
            print(f"{status(cell):12} {cell.name}")
    elif wanted.collect:
        print(f"{write_results(table, out=out)} of {len(table.cells)} cells in {out}")
    else:
        run_missing(table, out=out, most=wanted.most, only=wanted.only)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
