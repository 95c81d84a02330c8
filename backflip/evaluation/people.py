"""Blind comparison by people: one question a prompt, one answer of each policy; pairs are read off the rankings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from backflip.evaluation.winrate import Tally
from backflip.records import MIN_CANDIDATES, Answer, Candidate, Prompt, Question

__all__ = ["PURPOSE", "blind_question", "preferred_tally"]

PURPOSE = "evaluate"


def blind_question(prompt: Prompt, answers: Mapping[str, Candidate]) -> Question | None:
    """The question which of the policies' answers (by policy name) are better; None where all wrote the same.

    Policies that wrote the same text share a candidate, whose origin (never shown) names them all.
    """
    makers: dict[str, list[str]] = {}
    for name, candidate in answers.items():
        makers.setdefault(candidate.id, []).append(name)
    texts = {candidate.id: candidate for candidate in answers.values()}
    if len(texts) < MIN_CANDIDATES:
        return None
    candidates = tuple(
        Candidate(text=texts[k].text, origin="+".join(v), ended=texts[k].ended) for k, v in makers.items()
    )
    return Question("text", candidates, prompt, purpose=PURPOSE)


def preferred_tally(ours: str, theirs: str, answers: Iterable[Answer]) -> Tally:
    """How often the candidate `ours` (id) stands above `theirs` in people's answers to one question.

    The same text on both sides is one tie; "cannot tell" says nothing.
    """
    if ours == theirs:
        return Tally(0.5, 1)
    ranks = [_ranks(answer.tiers) for answer in answers if not answer.cannot_tell]
    wins = [float(r[ours] < r[theirs]) + 0.5 * (r[ours] == r[theirs]) for r in ranks]
    return Tally(sum(wins), len(wins))


def _ranks(tiers: Sequence[Sequence[str]]) -> dict[str, int]:
    return {candidate: place for place, tier in enumerate(tiers) for candidate in tier}
