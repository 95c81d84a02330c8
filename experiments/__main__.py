"""`python -m experiments NAME`: lists a table's cells, runs the missing ones, writes each that has ended.

It may be killed at any time; the same command goes on with the cells that were under way. The cells' folders, with
their checkpoints, are in --runs, which need not be in the work tree.
"""

from __future__ import annotations

import functools
import importlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro

from backflip.errors import BackflipError
from backflip.recipes.command import exit_code
from experiments.cells import Table, rows, run_missing, status, write_results
from experiments.outlook import outlook, share
from experiments.workers import side_by_side


@dataclass(frozen=True)
class Wanted:
    """Runs the cells of a table that have not ended yet."""

    table: tyro.conf.Positional[
        Literal["backflip", "agents", "mujoco", "atari", "novel", "ablation", "walker2d-labels"]
    ]
    """Which table."""
    runs: Path = Path("runs")
    """Where the cells' folders are; each table has its own in it."""
    out: Path | None = None
    """The results; docs/results/TABLE.json by default."""
    list: bool = False
    """Only says how far each cell is, and how long the rest will take."""
    collect: bool = False
    """Only writes the results of the cells that have ended, and prints what they say together."""
    most: int = 0
    """Run at most so many cells; 0: all."""
    only: str = ""
    """Run only cells whose name has this in it."""
    anew: bool = False
    """Begin from nothing what was begun and has not ended: after a change of settings it could not go on."""
    at_once: int = 1
    """So many cells side by side, a process each."""
    threads: int = 1
    """Threads of torch in each process."""

    @property
    def place(self) -> Path:
        """Where the results go."""
        return self.out or Path("docs/results") / f"{self.table.replace('-', '_')}.json"

    def made(self) -> Table:
        """The table."""
        module = importlib.import_module(f"experiments.{self.table.replace('-', '_')}")
        made: Table = module.table(self.runs / self.table)
        return made


def _listed(table: Table) -> None:
    for cell in table.cells:
        done = share(cell)
        print(f"{status(cell):12} {f'{done:.0%}' if 0 < done < 1 else '':5} {cell.name}")
    print(outlook(table))


def _collected(table: Table, out: Path) -> None:
    print(f"{write_results(table, out=out)} of {len(table.cells)} cells in {out}")
    found = rows(table)
    if table.summary is not None and found:
        for name, value in table.summary(found).items():
            print(f"{name}: {value}")


def _work(wanted: Wanted) -> None:
    """Runs what is missing."""
    torch.set_num_threads(wanted.threads)
    table = wanted.made()
    errors = run_missing(table, out=wanted.place, most=wanted.most, only=wanted.only, anew=wanted.anew)
    print(outlook(table), flush=True)
    if errors:
        raise BackflipError(f"{len(errors)} cells failed; the same command tries them again: {'; '.join(errors)}")


def main() -> None:
    """Reads the command line."""
    wanted = tyro.cli(Wanted, description=__doc__)
    logging.basicConfig(format="%(levelname)s %(message)s")
    if wanted.list:
        _listed(wanted.made())
    elif wanted.collect:
        _collected(wanted.made(), wanted.place)
    elif wanted.at_once > 1:
        side_by_side(functools.partial(_work, wanted), wanted.at_once)
    else:
        _work(wanted)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
