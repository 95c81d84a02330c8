"""Rankings as a reward model trains on them: a question is a tree of tokens, its answers are pairs of branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from backflip.errors import DataError
from backflip.feedback.pairs import Ties, pairs
from backflip.lm.packing import Tree
from backflip.lm.rewards import reward_tree
from backflip.lm.tokens import Tokens
from backflip.maths.preference import pair_accuracy, ranking_loss
from backflip.records import Answer, Labeller, Question

__all__ = ["Compared", "Ranking", "kwise_loss", "ranking", "ranking_metrics"]


class Compared(NamedTuple):
    """A pair: the places of its candidates among the tree's responses, 1 or 0.5, and who said so.

    `distance` is in tiers; `weight` is 1/C(K,2) over the number of answers, so that a question weighs 1 in all.
    """

    better: int
    worse: int
    target: float
    distance: int
    weight: float
    labeller: Labeller


@dataclass(frozen=True)
class Ranking:
    """A question: its prompt's id, its candidates as the tree's responses, and the pairs of all its answers."""

    prompt: str
    tree: Tree
    compared: tuple[Compared, ...]


def ranking(
    tokens: Tokens, question: Question, answers: Sequence[Answer], *, ties: Ties = "drop", max_length: int = 0
) -> Ranking:
    """A question with its answers, each of which can tell. Raises DataError if it has no prompt or shows clips."""
    prompt, texts = question.prompt, [c.text for c in question.candidates if c.text is not None]
    if prompt is None or len(texts) < len(question.candidates):
        raise DataError(f"question {question.id[:12]} shows {question.medium}s; wanted texts that answer a prompt")
    place = {c.id: k for k, c in enumerate(question.candidates)}
    compared = tuple(
        Compared(place[p.better], place[p.worse], p.target, p.distance, p.weight / len(answers), answer.labeller)
        for answer in answers
        for p in pairs(answer, ties)
    )
    ended = [c.ended for c in question.candidates]
    return Ranking(prompt.id, reward_tree(tokens, prompt, texts, ended, max_length=max_length), compared)


def _places(rankings: Sequence[Ranking]) -> Tensor:
    """(2, pairs): each pair's better and worse candidate among all the rankings' candidates in one row."""
    rows, first = [], 0
    for one in rankings:
        rows += [(first + c.better, first + c.worse) for c in one.compared]
        first += len(one.tree.responses)
    return torch.tensor(rows, dtype=torch.long).view(-1, 2).T


def kwise_loss(
    scores: Tensor,  # (candidates,), of all the rankings in one row
    rankings: Sequence[Ranking],
    *,
    questions: int,
    lapse: float = 0.0,
) -> Tensor:
    """The K-wise loss (P, eq. 1), a scalar: the rankings' part of the mean over a batch of `questions`."""
    weight = scores.new_tensor([c.weight / questions for r in rankings for c in r.compared])
    target = scores.new_tensor([c.target for r in rankings for c in r.compared])
    better, worse = _places(rankings).to(scores.device)
    return ranking_loss(scores=scores, better=better, worse=worse, weight=weight, target=target, lapse=lapse)


def ranking_metrics(scores: Tensor, rankings: Sequence[Ranking], *, lapse: float = 0.0) -> dict[str, float]:
    """How well scores (candidates,) on the CPU explain rankings: loss, score_mean, score_std and, of the pairs that
    are no ties (if there are any), accuracy and margin."""
    better, worse = scores[_places(rankings)]
    strict = torch.tensor([c.target == 1 for r in rankings for c in r.compared])
    metrics = {
        "loss": float(kwise_loss(scores, rankings, questions=len(rankings), lapse=lapse)),
        "score_mean": float(scores.mean()),
        "score_std": float(scores.std(correction=0)),
    }
    if strict.any():
        right = pair_accuracy(better=better[strict], worse=worse[strict])
        metrics |= {"accuracy": float(right), "margin": float((better - worse)[strict].mean())}
    return metrics
