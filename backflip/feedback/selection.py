"""What to ask next: a priority for each question, from what an ensemble of predictors thinks of its candidates.

One function, `priorities`, for clips (K = 2) and for texts (any K); it sees scores alone. A score is a Bradley-Terry
logit: a clip's summed reward or a text's reward. The highest priority should be asked first (`Store.prioritise`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from backflip.errors import ConfigError, DataError

__all__ = ["MIX", "Method", "choose", "priorities"]

Method = Literal["random", "disagreement", "information", "near_tie", "mix"]
Table = NDArray[np.float64]
MIX: Final[Mapping[Method, float]] = {"disagreement": 0.5, "random": 0.5}
_ENUMERATED = 5  # up to so many candidates all rankings are counted (5! = 120), beyond that some are drawn
_DRAWN = 200


def priorities(
    scores: Sequence[Table]
    | Table,  # a question each: (members, candidates); or as one (questions, members, candidates)
    method: Method,
    *,
    seed: int = 0,
    lapse: float = 0.0,
    mix: Mapping[Method, float] = MIX,
) -> Table:
    """Priority of each question, (questions,), the highest first.

    * `random`: drawn, by `seed`: the baseline, and the only choice whose answers are a fair sample.
    * `disagreement`: variance over members of P(one is preferred to another), mean over the pairs (H, section 2.2.4).
    * `information`: how many nats an answer is expected to tell about which member is right: the entropy of the
      ranking less its mean entropy by member (D. V. Lindley, 1956; "BALD", arXiv 1112.5745), the ranking by
      Plackett-Luce. Up to 5 candidates it is exact, beyond that from rankings drawn by `seed`.
    * `near_tie`: how near the members' mean P(one is preferred to another) is to 1/2, mean over the pairs. One member
      will do.
    * `mix`: the methods of `mix` take turns by their shares, so that each has its share of every first n.

    `lapse` is the share of answers that are noise. Equal priorities are equal: nothing is drawn for them.

    Raises:
        DataError: scores of another shape than said, or not finite.
        ConfigError: the method or the mix is unknown, or `disagreement` or `information` has only one member.
    """
    questions = [np.asarray(question, dtype=np.float64) for question in scores]
    _check(questions, method, mix)
    if not 0 <= lapse < 1:
        raise ConfigError(f"lapse is {lapse}; wanted the share of answers that are noise, in [0, 1), such as 0.1")
    if method == "mix":
        ranked = {one: priorities(questions, one, seed=seed, lapse=lapse) for one in mix}
        return _take_turns(ranked, mix)
    draw = np.random.default_rng(seed)
    if method == "random":
        return draw.random(len(questions))
    result = np.zeros(len(questions))
    for places, stacked in _by_size(questions):
        result[places] = _MEASURES[method](stacked, lapse, draw)
    return result


def choose(priority: Table, count: int) -> NDArray[np.intp]:
    """Indices of the `count` highest priorities, highest first; of equals the earlier."""
    return np.argsort(-priority, kind="stable")[:count]


def _check(questions: Sequence[Table], method: Method, mix: Mapping[Method, float]) -> None:
    known = get_args(Method)
    for name in (method, *mix):
        if name not in known:
            raise ConfigError(f"selection method is {name!r}; wanted one of {', '.join(known)}")
    if method == "mix" and (not mix or "mix" in mix or min(mix.values()) <= 0):
        raise ConfigError(f"mix is {dict(mix)}; wanted methods other than 'mix', each with a share above 0")
    for index, question in enumerate(questions):
        if question.ndim != 2 or question.shape[1] < 2 or not np.isfinite(question).all():
            raise DataError(
                f"scores of question {index} have shape {question.shape}, or are not finite; wanted (members, "
                "candidates) with 2 or more candidates"
            )
        if len(question) < 2 and {"disagreement", "information"} & {method, *(mix if method == "mix" else ())}:
            raise ConfigError(f"{method} of an ensemble of {len(question)}; wanted 2 or more members, or near_tie")


def _by_size(questions: Sequence[Table]) -> Iterator[tuple[list[int], Table]]:
    """Questions of one shape together: their places, and their scores as (questions, members, candidates)."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for index, question in enumerate(questions):
        shapes.setdefault(question.shape, []).append(index)
    for places in shapes.values():
        yield places, np.stack([questions[place] for place in places])


def _preferences(scores: Table, lapse: float) -> Table:
    """P(the first of a pair is preferred), (questions, members, pairs)."""
    first, second = np.triu_indices(scores.shape[2], k=1)
    difference = scores[:, :, first] - scores[:, :, second]
    return np.asarray((1 - lapse) * 0.5 * (1 + np.tanh(0.5 * difference)) + lapse / 2)


def _disagreement(scores: Table, lapse: float, _draw: np.random.Generator) -> Table:
    return np.asarray(_preferences(scores, lapse).var(axis=1).mean(axis=1))


def _near_tie(scores: Table, lapse: float, _draw: np.random.Generator) -> Table:
    return np.asarray(1 - 2 * np.abs(_preferences(scores, lapse).mean(axis=1) - 0.5).mean(axis=1))


def _information(scores: Table, lapse: float, draw: np.random.Generator) -> Table:
    if scores.shape[2] <= _ENUMERATED:
        orders = np.array(list(permutations(range(scores.shape[2]))))
        p = np.stack([_chance(scores[:, :, order], lapse) for order in orders])  # (rankings, questions, members)
        mixture = p.mean(axis=2, keepdims=True)
        return np.asarray((p * np.log(p / mixture)).sum(axis=0).mean(axis=1))
    total = np.zeros(len(scores))
    for member in range(scores.shape[1]):
        for _ in range(_DRAWN // scores.shape[1] + 1):
            order = _draw_rankings(scores[:, member], lapse, draw)
            p = _chance(np.take_along_axis(scores, order[:, None, :], axis=2), lapse)
            total += np.log(p[:, member] / p.mean(axis=1))
    return np.asarray(np.maximum(0.0, total / (scores.shape[1] * (_DRAWN // scores.shape[1] + 1))))


def _draw_rankings(scores: Table, lapse: float, draw: np.random.Generator) -> NDArray[np.intp]:
    blind = draw.random((len(scores), 1)) < lapse
    return np.argsort(-(np.where(blind, 0.0, scores) + draw.gumbel(size=scores.shape)), axis=1)


def _chance(ordered: Table, lapse: float) -> Table:
    """Plackett-Luce probability that candidates are ranked as they stand, (..., candidates) -> (...)."""
    count = ordered.shape[-1]
    behind = np.logaddexp.accumulate(ordered[..., ::-1], axis=-1)[..., ::-1]  # log sum of those not yet placed
    placed = np.exp(np.maximum((ordered - behind).sum(axis=-1), -700.0))
    return np.asarray((1 - lapse) * placed + lapse / math.factorial(count))


def _take_turns(ranked: Mapping[Method, Table], mix: Mapping[Method, float]) -> Table:
    """Whoever is furthest behind its share names its next question; priorities fall from 1 in the order of naming."""
    size, share = len(next(iter(ranked.values()))), {one: mix[one] / sum(mix.values()) for one in ranked}
    waiting = {one: iter(choose(priority, size)) for one, priority in ranked.items()}
    named, given = dict.fromkeys(ranked, 0), np.zeros(size)
    taken = np.zeros(size, dtype=bool)
    for place in range(size):
        turn = max(ranked, key=lambda one: share[one] * (place + 1) - named[one])
        question = next(q for q in waiting[turn] if not taken[q])
        named[turn] += 1
        taken[question], given[question] = True, 1 - place / size
    return given


_MEASURES: Final[Mapping[Method, Callable[[Table, float, np.random.Generator], Table]]] = {
    "disagreement": _disagreement,
    "information": _information,
    "near_tie": _near_tie,
}
