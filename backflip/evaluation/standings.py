"""All policies of an evaluation on one scale: who met whom, as each judge and as people saw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from backflip.evaluation.contest import Entry
from backflip.evaluation.people import preferred_tally
from backflip.evaluation.ratings import ratings
from backflip.evaluation.winrate import Tally, tally
from backflip.records import Answer

__all__ = ["rated_together"]


def rated_together(
    entries: Mapping[str, Entry], answered: Mapping[str, Sequence[Sequence[Answer]]], *, seed: int
) -> dict[str, dict[str, Any]]:
    """Who compared -> policy -> its Elo rating with interval; the first policy has 1000.

    Each prompt counts once for every two policies. `answered` has people's answers by prompt, under their name.
    """
    pairs = list(combinations(entries, 2))
    prompts = range(len(next(iter(entries.values())).own))
    found = {
        by: [[_judged(entries[a], entries[b], by, i) for a, b in pairs] for i in prompts] for by in _judges(entries)
    }
    for by, answers in answered.items():
        found[by] = [[_by_people(entries[a], entries[b], answers[i], i) for a, b in pairs] for i in prompts]
    rated: dict[str, dict[str, Any]] = {}
    for by, rows in found.items():
        points = [{p: t.wins / t.pairs for p, t in zip(pairs, row, strict=True) if t.pairs} for row in rows]
        rated[by] = {name: r._asdict() for name, r in ratings(list(entries), points, seed=seed).items()}
    return rated


def _judges(entries: Mapping[str, Entry]) -> list[str]:
    return list(next(iter(entries.values())).drawn.scores)


def _judged(ours: Entry, theirs: Entry, by: str, prompt: int) -> Tally:
    a, b = ours.meets(theirs, prompt)
    mine, other = ours.drawn.scores[by][prompt], theirs.drawn.scores[by][prompt]
    return tally([mine[k] for k in a], [other[k] for k in b])


def _by_people(ours: Entry, theirs: Entry, answers: Sequence[Answer], prompt: int) -> Tally:
    return preferred_tally(ours.candidate(prompt).id, theirs.candidate(prompt).id, answers)
