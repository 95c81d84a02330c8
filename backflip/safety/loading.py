"""Filters by name, as options and configurations give them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backflip.errors import ConfigError
from backflip.lm.specs import PYTHON, imported
from backflip.safety.verdict import AllOf, Filter

__all__ = ["WANTED", "load_filter", "load_filters"]

WANTED = (
    "'words', 'words:FILE', 'personal', 'trained:FOLDER', 'labels:MODEL#LABEL>0.5,LABEL>0.5', 'guard:MODEL' or "
    "'python:package.module:name' (a filter, or a function that makes one)"
)


def load_filters(specs: Sequence[str]) -> AllOf:
    """All of them as one. Raises ConfigError at a spec that is none, and what the filters raise."""
    return AllOf(tuple(load_filter(spec) for spec in specs))


def load_filter(spec: str) -> Filter:
    """One filter. Each kind's module is imported when it is asked for: rules need no torch."""
    kind, _, rest = spec.partition(":")
    if spec.startswith(PYTHON):
        found: Filter = imported(spec, what="filter", signature="() -> Filter")()
        return found
    if kind in ("words", "personal") and (not rest or kind == "words"):
        from backflip.safety.rules import PersonalData, default_words, read_words

        if kind == "personal":
            return PersonalData()
        return read_words(Path(rest)) if rest else default_words()
    if kind == "trained" and rest:
        from backflip.safety.trained import TrainedFilter

        return TrainedFilter.load(Path(rest))
    if kind in ("labels", "guard") and rest:
        return _model(kind, rest)
    raise ConfigError(f"filter is {spec!r}; wanted {WANTED}")


def _model(kind: str, rest: str) -> Filter:
    from backflip.safety.classifiers import GuardFilter, LabelFilter

    if kind == "guard":
        return GuardFilter.load(rest)
    folder, _, labels = rest.partition("#")
    return LabelFilter.load(folder, dict(_threshold(label) for label in labels.split(",") if label))


def _threshold(text: str) -> tuple[str, float]:
    label, _, least = text.partition(">")
    try:
        return label.strip(), float(least or 0.5)
    except ValueError as error:
        raise ConfigError(f"threshold of label {label!r} is {least!r}; wanted a number: LABEL>0.5") from error
