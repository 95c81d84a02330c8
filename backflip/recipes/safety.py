"""The safety filter that is trained here: from labelled texts, or from the flags that labellers gave, to thresholds.

    python -m backflip.recipes.safety --data labelled.jsonl --folder runs/safety

Texts are split in three, near-duplicates together: one part is learned from; on the second each category's threshold is
set, all together, for the stated rate of false alarms; on the third, which nothing was chosen on, it is measured.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional

from backflip.config import NOT_FINGERPRINTED, require
from backflip.errors import DataError
from backflip.feedback.formats.files import Row, read_rows
from backflip.feedback.store import Store
from backflip.recipes.command import command
from backflip.records import content_id
from backflip.runs import Parent, atomic_folder, open_run
from backflip.safety.groups import near_duplicates
from backflip.safety.loading import load_filters
from backflip.safety.ngrams import fit
from backflip.safety.thresholds import average_precision, false_positive_rate, joint_thresholds, recall
from backflip.safety.trained import TrainedFilter
from backflip.safety.verdict import Context

__all__ = ["Check", "Config", "Labelled", "Result", "check", "flagged", "main", "read_labelled", "run"]

_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Config:
    """Trains a filter from labelled texts (`data`), from labellers' flags (`store`), or from both."""

    folder: Path = field(metadata=NOT_FINGERPRINTED)
    """The run's folder; the filter will be in its `filter`."""
    data: tuple[Path, ...] = ()
    """JSON lines, gzipped or not: `{"text": .., "labels": {"hate": 1, ..}}`; a category left out is not labelled."""
    store: str | None = field(default=None, metadata=NOT_FINGERPRINTED)
    """A feedback store whose flags are labels: the share of its labellers who flagged a text."""
    project: str = "default"
    """The store's project."""
    false_positives: float = 0.05
    """The share of harmless texts that the filter may block; the categories' thresholds are set by it together."""
    validation_share: float = 0.15
    """The share of texts on which thresholds are set."""
    test_share: float = 0.15
    """The share of texts on which the filter is measured."""
    penalty: float = 1e-5
    """L2 on the weights."""
    steps: int = 40
    """Steps of L-BFGS."""
    seed: int = 0
    """Of the split."""

    def __post_init__(self) -> None:
        require(
            bool(self.data) or self.store is not None, "data", seen="nothing", wanted="files, or a store with flags"
        )
        for name in ("false_positives", "validation_share", "test_share"):
            require(0 < getattr(self, name) < 1, name, seen=getattr(self, name), wanted="a share in (0, 1)")
        share = self.validation_share + self.test_share
        require(
            share < 1, "test_share", seen=self.test_share, wanted=f"below {1 - self.validation_share:g}: some train"
        )
        require(self.penalty >= 0, "penalty", seen=self.penalty, wanted="0 or more")
        require(self.steps >= 1, "steps", seen=self.steps, wanted="1 or more")


@dataclass(frozen=True)
class Result:
    """`categories`: for each its threshold and, on test texts, `auprc`, `recall`, `false_positives` and counts.

    A figure is None where a test text of that kind was not there.
    """

    filter: str
    texts: Mapping[str, int]
    categories: Mapping[str, Mapping[str, float | int | None]]

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {count}" for name, count in self.texts.items())
        lines = [f"filter in {self.filter}, from {sum(self.texts.values())} texts ({parts}); on test texts:"]
        for category, found in self.categories.items():
            shown = {name: "-" if found[name] is None else f"{found[name]:.3f}" for name in _FIGURES}
            lines.append(
                f"  {category}: AUPRC {shown['auprc']}, finds {shown['recall']} at {shown['false_positives']} false "
                f"alarms ({found['positives']} of {found['labelled']} texts, threshold {found['threshold']:.3g})"
            )
        return "\n".join(lines)


_FIGURES = ("auprc", "recall", "false_positives")


@dataclass(frozen=True)
class Check:
    """Says what filters say of a text."""

    text: Positional[str]
    """The text, as the user or the model would write it."""
    filters: tuple[str, ...] = ("words", "personal")
    """Filters by name: words, words:FILE, personal, trained:FOLDER, labels:MODEL#LABEL>0.5, guard:MODEL, python:.."""
    role: Literal["user", "assistant"] = "user"
    """Whose text it is."""


class Labelled(NamedTuple):
    """A text and its labels: category -> probability in [0, 1]."""

    text: str
    labels: Mapping[str, float]


class _Split(NamedTuple):
    texts: list[str]
    targets: NDArray[np.float64]  # (texts, categories); NaN is not labelled


def run(config: Config) -> Result:
    """Trains, sets thresholds, measures, saves; a run that is done gives its result again.

    Raises DataError where there is nothing to learn from, or a category lacks examples to set its threshold.
    """
    rows = _read(config)
    categories = sorted({category for row in rows for category in row.labels})
    parents = [Parent("data", str(path), {}) for path in config.data]
    digest = {"sha256": content_id([[row.text, dict(row.labels)] for row in rows]), "texts": len(rows)}
    parents.append(Parent("data", config.store or "labelled texts", digest))
    with ExitStack() as stack:
        ledger = stack.enter_context(
            open_run(config.folder, recipe="safety", config=config, seed=config.seed, parents=parents)
        )
        if not ledger.done:
            splits = _split(config, rows, categories)
            made = _train(config, splits, categories)
            with atomic_folder(config.folder / "filter") as partial:
                made.save(partial)
            measured = _measure(made, splits["test"], categories)
            sizes = {name: len(splits[name].texts) for name in _SPLITS}
            ledger.finish(asdict(Result(str(config.folder / "filter"), sizes, measured)))
        return Result(**dict(ledger.result))


def check(config: Check) -> str:
    """`backflip safety check TEXT`: the verdict in words, with every category's score."""
    verdict = load_filters(config.filters).check(config.text, Context(config.role))
    scores = [f"  {category}: {score:.3f}" for category, score in sorted(verdict.categories.items())]
    return "\n".join(["allowed" if verdict.allowed else f"blocked: {verdict.reason}", *scores])


# --- data


def _read(config: Config) -> list[Labelled]:
    rows = [row for path in config.data for row in read_labelled(path)]
    if config.store is not None:
        with Store.existing(config.store) as store:
            rows += flagged(store, project=config.project)
    if not rows:
        raise DataError("there is no labelled text; wanted rows of text and labels, or answers that carry flags")
    return rows


def read_labelled(path: Path) -> list[Labelled]:
    """Rows of a file. Raises DataError that names line and field."""
    return [Labelled(row.text("text"), _labels(row)) for row in read_rows(path)]


def _labels(row: Row) -> dict[str, float]:
    labels = row.inside("labels").data
    bad = {k: v for k, v in labels.items() if isinstance(v, bool) or not isinstance(v, (int, float)) or not 0 <= v <= 1}
    if bad or not labels:
        raise row.error("labels", f"is {dict(labels)!r}; wanted one category or more, each with a number from 0 to 1")
    return {str(category): float(value) for category, value in labels.items()}


def flagged(store: Store, *, project: str) -> list[Labelled]:
    """Candidates with the share of their labellers who gave each flag, of the flags that anybody gave.

    Only answers that carry flags count: in another it is not known whether anybody was asked.
    """
    texts = {c.id: c.text for q in store.questions(project=project) for c in q.candidates if c.text}
    seen: dict[str, list[frozenset[str]]] = defaultdict(list)
    for numbered in store.answers(project=project):
        for candidate, flags in numbered.answer.flags.items():
            if candidate in texts:
                seen[candidate].append(frozenset(flags))
    used = sorted({flag for given in seen.values() for flags in given for flag in flags})
    return [
        Labelled(str(texts[key]), {flag: sum(flag in flags for flags in given) / len(given) for flag in used})
        for key, given in seen.items()
        if used
    ]


def _split(config: Config, rows: Sequence[Labelled], categories: Sequence[str]) -> dict[str, _Split]:
    groups = near_duplicates([row.text for row in rows])
    chosen: dict[str, list[Labelled]] = {name: [] for name in _SPLITS}
    for row, group in zip(rows, groups, strict=True):
        draw = int(content_id("safety split", config.seed, rows[group].text)[:13], 16) / 16**13
        name = "test" if draw < config.test_share else "validation"
        name = name if draw < config.test_share + config.validation_share else "train"
        chosen[name].append(row)
    return {
        name: _Split([r.text for r in some], np.array([[r.labels.get(c, math.nan) for c in categories] for r in some]))
        for name, some in chosen.items()
    }


# --- training and measuring


def _train(config: Config, splits: Mapping[str, _Split], categories: Sequence[str]) -> TrainedFilter:
    train, validation = splits["train"], splits["validation"]
    model = fit(train.texts, train.targets, labels=categories, penalty=config.penalty, steps=config.steps)
    for i, category in enumerate(categories):
        if not validation.texts or not (validation.targets[:, i] < 0.5).any():
            raise DataError(
                f"no validation text is labelled harmless for {category!r}, so its threshold cannot be set; "
                "wanted more texts, a larger validation_share, or to leave the category out"
            )
    made = joint_thresholds(model.scores(validation.texts), validation.targets, rate=config.false_positives)
    return TrainedFilter(model, dict(zip(categories, map(float, made), strict=True)))


def _measure(made: TrainedFilter, test: _Split, categories: Sequence[str]) -> dict[str, dict[str, float | int | None]]:
    scores, found = made.model.scores(test.texts), {}
    for i, category in enumerate(categories):
        known = ~np.isnan(test.targets[:, i]) if test.texts else np.zeros(0, dtype=np.bool_)
        own, target = scores[known, i], (test.targets[known, i] >= 0.5 if test.texts else np.zeros(0)).astype(float)
        least = made.thresholds[category]
        figures = {
            "auprc": average_precision(own, target),
            "recall": recall(own, target, threshold=least),
            "false_positives": false_positive_rate(own, target, threshold=least),
        }
        counts = {"threshold": least, "labelled": int(known.sum()), "positives": int(target.sum())}
        found[category] = {**counts, **{k: None if math.isnan(v) else v for k, v in figures.items()}}
    return found


def main() -> None:
    """`python -m backflip.recipes.safety`."""
    command(Config, run, description=__doc__, alone=True)


if __name__ == "__main__":
    main()
