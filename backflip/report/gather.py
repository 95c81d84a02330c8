"""What a report is made of: the runs below a folder, with their metrics, results and reports, read from their files."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backflip.errors import DataError
from backflip.evaluation.overoptimisation import Advice, Point, advice, best_of_n_points, ppo_points
from backflip.runs import RunRecord, list_runs, read_metrics, read_run

__all__ = ["Curves", "Evaluation", "Material", "gather"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Curves:
    """A run that wrote metrics."""

    run: RunRecord
    metrics: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Evaluation:
    """A blind comparison: results.json, and each sample's scores where they are kept."""

    run: RunRecord
    results: Mapping[str, Any]
    scores: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]

    @property
    def judges(self) -> list[str]:
        """Who compared, people first and the reward model last: it judges what was trained on it."""
        found = dict.fromkeys(by for figures in self.results["policies"].values() for by in figures["win_rates"])
        return sorted(found, key=lambda by: (by != "people", by == "rm"))


@dataclass(frozen=True)
class Material:
    """All that was found. `evaluation` is the newest comparison; the others are in the order in which they began."""

    root: Path
    runs: Sequence[RunRecord]
    sft: Sequence[Curves] = ()
    reward: Sequence[Curves] = ()
    ppo: Sequence[Curves] = ()
    reward_reports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    measured: Sequence[Mapping[str, Any]] = ()
    values: Sequence[Mapping[str, Any]] = ()
    asked: Sequence[RunRecord] = ()

    @property
    def simulated(self) -> bool:
        """Whether any labels came from a simulated judge."""
        return any(run.result.get("simulated") for run in self.asked)

    def name_of(self, run: RunRecord) -> str:
        """The run's folder from the root."""
        inside = run.folder.resolve().is_relative_to(self.root.resolve())
        name = run.folder.resolve().relative_to(self.root.resolve()).as_posix() if inside else run.folder.name
        return run.folder.name if name == "." else name

    def overoptimisation(self) -> list[tuple[str, list[Point], Advice | None]]:
        """Each PPO run's points with its advice, then best-of-n over the reference's samples if they were scored."""
        found: list[tuple[str, list[Point], Advice | None]] = []
        for one in self.ppo:
            points = ppo_points(one.metrics)
            if any(p.judge is not None for p in points):
                found.append((f"PPO ({self.name_of(one.run)})", points, advice(points, noise=self._noise())))
        found += [(name, points, None) for name, points in self._best_of_n()]
        return found

    def _best_of_n(self) -> Iterable[tuple[str, list[Point]]]:
        if self.evaluation is None:
            return
        judges = [by for by in self.evaluation.judges if by not in ("people", "rm")]
        reference = self.evaluation.run.config.get("kl_to")
        scores = self.evaluation.scores.get(str(reference), {})
        if reference and judges and "rm" in scores and judges[0] in scores:
            yield f"best of n ({reference})", best_of_n_points(scores["rm"], scores[judges[0]])

    def _noise(self) -> float:
        """How far the judge's mean may fall by chance: half its widest interval in the comparison, if there is one."""
        if self.evaluation is None:
            return 0.0
        spans = [
            found["high"] - found["low"]
            for figures in self.evaluation.results["policies"].values()
            for found in figures["judges"].values()
        ]
        return max(spans, default=0.0) / 2


def gather(root: Path, more: Sequence[Path] = ()) -> Material:
    """Reads `root` and the folders of `more`. Raises DataError where there is no run; a damaged file is passed over."""
    runs = list_runs(root)
    if not runs:
        raise DataError(
            f"there is no run in {root}; wanted the folder of a run or of a loop, as `backflip runs` lists them"
        )
    for folder in more:
        added = list_runs(folder) if read_run(folder) is None else [run for run in [read_run(folder)] if run]
        if not added:
            raise DataError(f"there is no run in {folder}; wanted the folder of a run to report as well")
        runs += [run for run in added if run.folder.resolve() not in {r.folder.resolve() for r in runs}]
    evaluations = [run for run in _of(runs, "evaluate") if run.status == "done"]
    return Material(
        root=root,
        runs=runs,
        sft=_curves(runs, "sft"),
        reward=_curves(runs, "reward"),
        ppo=_curves(runs, "ppo"),
        reward_reports={r.folder.as_posix(): found for r in _of(runs, "reward") if (found := _reward_report(r))},
        evaluation=_evaluation(evaluations[-1]) if evaluations else None,
        measured=[found for run in _of(runs, "measure") if (found := _json(run.folder / "results.json"))],
        values=[found for run in _of(runs, "values") if (found := _json(run.folder / "results.json"))],
        asked=_of(runs, "ask"),
    )


def _of(runs: Sequence[RunRecord], recipe: str) -> list[RunRecord]:
    return [run for run in runs if run.recipe == recipe]


def _curves(runs: Sequence[RunRecord], recipe: str) -> list[Curves]:
    return [Curves(run, metrics) for run in _of(runs, recipe) if (metrics := read_metrics(run.folder))]


def _reward_report(run: RunRecord) -> Mapping[str, Any]:
    return _json(run.folder / "reports" / "reward.json")


def _evaluation(run: RunRecord) -> Evaluation | None:
    results = _json(run.folder / "results.json")
    return Evaluation(run, results, _json(run.folder / "scores.json")) if results else None


def _json(path: Path) -> dict[str, Any]:
    """What a file holds; {} where it is not there or cannot be read, which is said in the log."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _log.warning("%s cannot be read (%s); the report does without it", path, error)
        return {}
