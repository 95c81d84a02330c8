"""How well scores explain answers that they were not fitted to: accuracy by distance and by labeller, calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch

from backflip.errors import DataError
from backflip.evaluation.calibration import Calibration, calibration
from backflip.feedback.intervals import bootstrap_ratio
from backflip.feedback.quality import ceiling, ceiling_by_group
from backflip.maths.preference import preference_probability
from backflip.records import Answer, Labeller

__all__ = ["Judged", "accuracy", "agreement_ceiling", "breakdown", "preference_calibration"]


class Judged(NamedTuple):
    """A pair that a labeller put in order, and by how much the model scores the preferred one higher.

    `unit` is the prompt's id: pairs of one prompt are not independent. `distance` is in tiers, 1 for neighbours.
    """

    unit: str
    labeller: Labeller
    distance: int
    margin: float


def accuracy(judged: Iterable[Judged], *, seed: int = 0) -> dict[str, float]:
    """Share of pairs in the labeller's order (equal scores are half right), with a 95 % interval over prompts.

    `{"value", "low", "high", "pairs", "prompts"}`. Raises DataError if there is no pair.
    """
    right: dict[str, float] = {}
    total: dict[str, int] = {}
    for pair in judged:
        right[pair.unit] = right.get(pair.unit, 0.0) + (pair.margin > 0) + 0.5 * (pair.margin == 0)
        total[pair.unit] = total.get(pair.unit, 0) + 1
    interval = bootstrap_ratio(list(right.values()), list(total.values()), seed=seed)
    return {**interval._asdict(), "pairs": sum(total.values()), "prompts": len(total)}


def breakdown(judged: Sequence[Judged], *, lapse: float = 0.0, seed: int = 0) -> dict[str, Any]:
    """All that one set of held-out pairs says, as JSON can hold it.

    `accuracy`, and the same `by_distance`, `by_labeller` and `by_group` (attribute -> value); `calibration` with
    the lapse that the model was fitted with. Raises DataError if there is no pair.
    """
    attributes = sorted({name for pair in judged for name in pair.labeller.groups})
    ece, curve = preference_calibration(judged, lapse=lapse)
    return {
        "accuracy": accuracy(judged, seed=seed),
        "by_distance": _split(judged, lambda pair: str(pair.distance), seed),
        "by_labeller": _split(judged, lambda pair: pair.labeller.id, seed),
        "by_group": {name: _split(judged, _group(name), seed) for name in attributes},
        "calibration": {"ece": ece, "curve": [b._asdict() for b in curve]},
    }


def preference_calibration(judged: Sequence[Judged], *, lapse: float = 0.0) -> Calibration:
    """Calibration of `P(better) = sigmoid(margin)`, mixed with the lapse. Raises DataError if there is no pair."""
    margins = torch.tensor([pair.margin for pair in judged], dtype=torch.float64)
    given = preference_probability(better=margins, worse=torch.zeros_like(margins), lapse=lapse)
    return calibration(given.tolist())


def agreement_ceiling(answers: Iterable[Answer]) -> dict[str, Any] | None:
    """`feedback.quality.ceiling` as JSON, and the same `by_group` (attribute -> value): what accuracy is held against.

    None where no question was answered by several labellers.
    """
    given = list(answers)
    attributes = sorted({name for answer in given for name in answer.labeller.groups})
    try:
        whole = ceiling(given)._asdict()
    except DataError:
        return None
    groups = {name: ceiling_by_group(given, name) for name in attributes}
    return whole | {"by_group": {n: {v: rate._asdict() for v, rate in of.items()} for n, of in groups.items()}}


def _group(name: str) -> Callable[[Judged], str]:
    return lambda pair: pair.labeller.groups.get(name, "")


def _split(judged: Iterable[Judged], key: Callable[[Judged], str], seed: int) -> dict[str, dict[str, float]]:
    parts: dict[str, list[Judged]] = {}
    for pair in judged:
        parts.setdefault(key(pair), []).append(pair)
    return {name: accuracy(parts[name], seed=seed) for name in sorted(parts, key=lambda n: (len(n), n))}
