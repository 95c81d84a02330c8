"""A measured number: its value, its interval, and how many questions it rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from backflip.errors import DataError
from backflip.feedback.intervals import bootstrap_ratio
from backflip.feedback.quality import wilson

__all__ = ["Number", "grouped", "mean", "share"]

T = TypeVar("T")


class Number(NamedTuple):
    """`n` counts questions; the interval is of 95 %."""

    value: float
    low: float
    high: float
    n: int


def mean(values: Sequence[float], *, seed: int = 0) -> Number:
    """The mean over questions, with a bootstrap interval over questions. Raises DataError where there is none."""
    return Number(*bootstrap_ratio(values, [1.0] * len(values), seed=seed), n=len(values))


def share(hits: Sequence[bool]) -> Number:
    """The share of questions that are true, with Wilson's interval. Raises DataError where there is none."""
    if not hits:
        raise DataError("there is no question to take a share of; wanted one or more")
    right = sum(hits)
    return Number(right / len(hits), *wilson(right, len(hits)), n=len(hits))


def grouped(
    values: Sequence[T], groups: Sequence[str], number: Callable[[Sequence[T]], Number], *, name: str
) -> Mapping[str, Number]:
    """The same number of each group alone: `NAME/GROUP`, in the groups' order of names."""
    parts: dict[str, list[T]] = {}
    for value, group in zip(values, groups, strict=True):
        parts.setdefault(group, []).append(value)
    return {f"{name}/{group}": number(parts[group]) for group in sorted(parts)}
