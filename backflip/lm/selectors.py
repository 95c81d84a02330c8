"""What an ensemble of rewards would have asked next: priorities of questions about texts (feedback.selection)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backflip.feedback.selection import Method, priorities
from backflip.lm.rewards import load_reward
from backflip.records import Question

__all__ = ["question_priorities"]


def question_priorities(
    questions: Sequence[Question], selectors: Sequence[str], method: Method, *, seed: int = 0
) -> list[float]:
    """Priority of each question by the rewards that `selectors` name (as `load_reward`), one loaded at a time.

    Raises as `load_reward` and `priorities`.
    """
    prompts = [q.prompt for q in questions if q.prompt is not None]
    texts = [[c.text or "" for c in q.candidates] for q in questions]
    ended = [[c.ended for c in q.candidates] for q in questions]
    scores = [load_reward(spec).scores(prompts, texts, ended) for spec in selectors]
    members = [
        np.array([of_one[i] for of_one in scores]).reshape(len(scores), len(q.candidates))
        for i, q in enumerate(questions)
    ]
    return [float(p) for p in priorities(members, method, seed=seed)]
