"""Runs on a terminal: all of them as a table, one of them with its ancestry as a tree."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text
from rich.tree import Tree

from backflip.runs.lineage import Ancestor, Parent, RunRecord, ancestry

__all__ = ["run_page", "runs_table"]

_STYLES = {"done": "green", "running": "cyan", "failed": "red", "interrupted": "yellow", "killed": "red"}


def runs_table(runs: Sequence[RunRecord], root: Path) -> Table:
    """A row a run: name, recipe, status, seed, start, seconds, code. Nothing is cut: names are typed in again."""
    columns = ("run", "recipe", "status", "seed", "started", "seconds", "code")
    table = Table(*(Column(name, overflow="fold") for name in columns))
    for run in runs:
        name = run.folder.relative_to(root) if run.folder.is_relative_to(root) else run.folder
        cells = (str(run.seed), run.started[:19], f"{run.seconds:.1f}", _code(run.code))
        table.add_row(Text(str(name)), Text(run.recipe), _status(run), *map(Text, cells))
    return table


def run_page(run: RunRecord) -> RenderableType:
    """`backflip runs show X`: status, seed, code, configuration, result or error, and the tree of its parents."""
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(run):
        facts.add_row(Text(name, style="bold"), value)
    seen: set[Path] = {run.folder.resolve()}
    tree = Tree(_run_line(run))
    for ancestor in ancestry(run):
        _grow(tree, ancestor, seen)
    return Group(facts, Text(), tree)


def _facts(run: RunRecord) -> list[tuple[str, Text]]:
    when = f"{run.started[:19]} to {(run.finished or '-')[:19]} (UTC), {run.seconds:.1f} s of work"
    facts = [("folder", Text(str(run.folder))), ("status", _status(run)), ("time", Text(when))]
    facts += [("seed", Text(str(run.seed))), ("code", Text(_code(run.code))), ("fingerprint", Text(run.fingerprint))]
    facts += [("config", Text(_fields(run.config)))]
    facts += [("result", Text(json.dumps(run.result, indent=1, ensure_ascii=False)))] if run.result else []
    return facts + ([("error", Text(run.error, style="red"))] if run.error else [])


def _grow(tree: Tree, ancestor: Ancestor, seen: set[Path]) -> None:
    run = ancestor.run
    if run is None:
        tree.add(Text(_parent_line(ancestor.parent)))
        return
    line = Text(f"{ancestor.parent.kind} ").append_text(_run_line(run))
    if run.folder.resolve() in seen:
        tree.add(line.append("  (its parents stand above)", style="dim"))
        return
    seen.add(run.folder.resolve())
    branch = tree.add(line.append(f"\n{_fields(run.config, sep=' ')}", style="dim"))
    for older in ancestor.parents:
        _grow(branch, older, seen)


def _run_line(run: RunRecord) -> Text:
    return Text(f"{run.name}: {run.recipe}, seed {run.seed}, code {_code(run.code)}, ").append_text(_status(run))


def _parent_line(parent: Parent) -> str:
    detail = dict(parent.detail)
    if parent.kind == "answers" and "up_to" in detail:
        known = (
            f"answers up to number {detail.pop('up_to')} less {detail.pop('withdrawn', 0)} withdrawals, {parent.ref}"
        )
    else:
        known = f"{parent.kind} {parent.ref}"
    return f"{known} ({_fields(detail, sep=', ')})" if detail else known


def _status(run: RunRecord) -> Text:
    return Text(run.status, style=_STYLES[run.status])


def _code(code: Mapping[str, Any]) -> str:
    commit = f" {code['commit'][:10]}{' with changes' if code['dirty'] else ''}" if code.get("commit") else ""
    return f"{code['version']}{commit}"


def _fields(fields: Mapping[str, Any], sep: str = "\n") -> str:
    return sep.join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in fields.items())
