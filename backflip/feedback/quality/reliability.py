"""Krippendorff's alpha over all who answered, and Kendall's tau of two answers.

Tau is scipy's. Alpha is our own: the library that everybody uses for it is under the GPL and so a test's dependency
only, where the two are held equal.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache

from backflip.errors import DataError
from backflip.feedback.quality.relations import by_question, relations, together
from backflip.feedback.statistics import scipy
from backflip.records import Answer

__all__ = ["kendall_tau", "krippendorff_alpha", "mean_tau", "preference_alpha"]


def krippendorff_alpha(units: Iterable[Sequence[Hashable]]) -> float:
    """Krippendorff's alpha for nominal values: 1 - observed / expected disagreement; 0 is chance, 1 is perfect.

    A unit is the values that several people gave it; units of one value are left out. Source: K. Krippendorff,
    "Computing Krippendorff's Alpha-Reliability" (2011), C. NaN if all values are the same (nothing could be
    disagreed upon); raises DataError if no unit has two values.
    """
    observed, values = 0.0, Counter[Hashable]()
    for unit in units:
        if len(unit) > 1:
            counts = Counter(unit)
            values.update(counts)
            unequal = len(unit) ** 2 - sum(n * n for n in counts.values())  # ordered pairs of different values
            observed += unequal / (len(unit) - 1)
    total = values.total()
    if not total:
        raise DataError("no unit has two values; alpha wants two or more people on some units")
    expected = (total**2 - sum(n * n for n in values.values())) / (total - 1)
    return 1 - observed / expected if expected else math.nan


def preference_alpha(answers: Iterable[Answer]) -> float:
    """Alpha over pairs of candidates, each unit counted both ways round.

    Which of two candidates is called the first is arbitrary, and alpha's expected disagreement depends on it; counted
    both ways, better and worse are equally frequent and the value is free of the order. Raises as `krippendorff_alpha`.
    """
    units: list[list[int]] = []
    for own in by_question(answers):
        votes: dict[tuple[str, str], list[int]] = {}
        for answer in own:
            for pair, relation in relations(answer).items():
                votes.setdefault(pair, []).append(relation)
        units.extend(v for vote in votes.values() for v in (vote, [-r for r in vote]))
    return krippendorff_alpha(units)


def kendall_tau(a: Answer, b: Answer) -> float:
    """Kendall's tau-b of two answers to one question: 1 is the same order, -1 the reverse; ties are corrected for.

    Source: M. G. Kendall, "The treatment of ties in ranking problems" (1945). NaN if an answer ties everything or
    cannot tell. Raises DataError if the answers are to different questions.
    """
    if a.question != b.question:
        raise DataError(
            f"answers are to questions {a.question[:12]} and {b.question[:12]}; tau wants two to one question"
        )
    left, right = _tiers(a), _tiers(b)
    return _tau(tuple(sorted((left[c], right[c]) for c in left.keys() & right.keys())))


def mean_tau(answers: Iterable[Answer]) -> float:
    """The mean of tau over all pairs of answers by two people to one question; NaN if there is none.

    Pairs of answers of which one ties everything have no tau and are left out.
    """
    taus = [kendall_tau(a, b) for own in by_question(answers) for a, b in together(own)]
    told = [tau for tau in taus if not math.isnan(tau)]
    return math.fsum(told) / len(told) if told else math.nan


def _tiers(answer: Answer) -> dict[str, int]:
    return {candidate: index for index, tier in enumerate(answer.tiers) for candidate in tier}


@lru_cache(maxsize=100_000)  # there are few patterns of tiers, and scipy takes 0.4 ms for each
def _tau(tiers: tuple[tuple[int, int], ...]) -> float:
    if len(tiers) < 2:  # of which scipy warns
        return math.nan
    left, right = zip(*tiers, strict=True)
    return float(scipy("stats").kendalltau(left, right).statistic)
