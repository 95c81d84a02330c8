"""The simulated labeller: exact without noise, and with noise as often wrong as its model says."""

import math
from collections import Counter
from itertools import permutations

import pytest

from backflip.errors import ConfigError, DataError
from backflip.feedback.oracle import SimulatedLabeller
from backflip.feedback.pairs import pairs
from backflip.records import Candidate, Prompt, Question


def question(n: int, number: int = 0) -> Question:
    return Question("text", tuple(Candidate(text=str(i)) for i in range(n)), Prompt.ask(f"question {number}"))


def score(asked: Question, values: list[float]) -> dict[str, float]:
    """Candidate "i" scores values[i]."""
    return {candidate.id: values[int(candidate.text or "")] for candidate in asked.candidates}


def names(asked: Question, tiers: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    text = {candidate.id: candidate.text or "" for candidate in asked.candidates}
    return tuple("".join(sorted(text[c] for c in tier)) for tier in tiers)


def test_without_faults_the_order_is_that_of_the_scores() -> None:
    asked = question(4)
    answer = SimulatedLabeller(seed=1).answer(asked, score(asked, [0.1, 3.0, 3.0, -2.0]))
    answer.check(asked)
    assert names(asked, answer.tiers) == ("12", "0", "3")  # equal scores tie
    assert answer.labeller.kind == "simulated"
    assert sorted(answer.shown) == sorted(c.id for c in asked.candidates)


def test_the_tie_margin_is_from_the_best_of_the_tier() -> None:
    # 0.4 is within 0.5 of 0.8; 0.0 is within 0.5 of 0.4 but not of 0.8, so it opens a tier, which -0.5 joins.
    asked = question(4)
    answer = SimulatedLabeller(seed=1, tie_margin=0.5).answer(asked, score(asked, [0.8, 0.4, 0.0, -0.5]))
    assert names(asked, answer.tiers) == ("01", "23")


def test_bad_all_round_is_cannot_tell() -> None:
    asked = question(2)
    picky = SimulatedLabeller(seed=1, cannot_tell_below=0.0)
    assert picky.answer(asked, score(asked, [-1.0, -2.0])).cannot_tell
    assert not picky.answer(asked, score(asked, [-1.0, 0.0])).cannot_tell


def test_the_answer_depends_on_seed_name_and_question_only() -> None:
    asked = [question(5, number) for number in range(20)]
    flat = [0.0, 0.1, 0.2, 0.3, 0.4]

    def ask(labeller: SimulatedLabeller, order: list[Question]) -> dict[str, object]:
        return {q.id: (a.tiers, a.shown) for q in order for a in [labeller.answer(q, score(q, flat))]}

    noisy = SimulatedLabeller(seed=3, temperature=1.0)
    assert ask(noisy, asked) == ask(SimulatedLabeller(seed=3, temperature=1.0), asked[::-1])
    assert ask(noisy, asked) != ask(SimulatedLabeller(seed=4, temperature=1.0), asked)
    assert ask(noisy, asked) != ask(SimulatedLabeller(seed=3, temperature=1.0, name="other"), asked)


def _near(count: int, n: int, p: float) -> bool:
    return abs(count - n * p) < 4 * math.sqrt(n * p * (1 - p))  # four standard deviations; seeds are fixed


def test_two_candidates_follow_bradley_terry() -> None:
    # difference 1.5 at temperature 2: sigmoid(0.75) = 0.679
    n, labeller = 2000, SimulatedLabeller(seed=0, temperature=2.0)
    asked = [question(2, number) for number in range(n)]
    right = sum(names(q, labeller.answer(q, score(q, [1.5, 0.0])).tiers) == ("0", "1") for q in asked)
    assert _near(right, n, 1 / (1 + math.exp(-0.75)))


def test_three_candidates_follow_plackett_luce() -> None:
    n, values, labeller = 3000, [0.0, 0.5, 1.0], SimulatedLabeller(seed=0, temperature=1.0)
    asked = [question(3, number) for number in range(n)]
    seen = Counter("".join(names(q, labeller.answer(q, score(q, values)).tiers)) for q in asked)
    strength = [math.exp(value) for value in values]
    for a, b, c in permutations(range(3)):
        expected = strength[a] / sum(strength) * strength[b] / (strength[b] + strength[c])
        assert _near(seen[f"{a}{b}{c}"], n, expected), (a, b, c)


def test_ties_with_noise_follow_rao_and_kupper() -> None:
    n, labeller = 2000, SimulatedLabeller(seed=0, temperature=1.0, tie_margin=0.8)
    asked = [question(2, number) for number in range(n)]
    seen = Counter(names(q, labeller.answer(q, score(q, [0.5, 0.0])).tiers) for q in asked)
    better, worse = 1 / (1 + math.exp(-(0.5 - 0.8))), 1 / (1 + math.exp(-(-0.5 - 0.8)))
    assert _near(seen["0", "1"], n, better)
    assert _near(seen["1", "0"], n, worse)
    assert _near(seen[("01",)], n, 1 - better - worse)


def test_mistakes_turn_the_whole_answer_round() -> None:
    n, labeller = 1000, SimulatedLabeller(seed=0, mistakes=0.2)
    turned = 0
    for number in range(n):
        asked = question(3, number)
        answer = labeller.answer(asked, score(asked, [2.0, 1.0, 0.0]))
        assert names(asked, answer.tiers) in {("0", "1", "2"), ("2", "1", "0")}
        assert len(pairs(answer)) == 3
        turned += names(asked, answer.tiers) == ("2", "1", "0")
    assert _near(turned, n, 0.2)


def test_the_shown_order_is_random_and_apart_from_the_ranking() -> None:
    n, labeller = 1000, SimulatedLabeller(seed=0)
    asked = [question(2, number) for number in range(n)]
    first = sum(a.shown[0] == a.tiers[0][0] for q in asked for a in [labeller.answer(q, score(q, [1.0, 0.0]))])
    assert _near(first, n, 0.5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_a_missing_or_infinite_score_is_named(bad: float | None) -> None:
    asked = question(2)
    scores = {c.id: 0.0 for c in asked.candidates} | ({asked.candidates[0].id: bad} if bad is not None else {})
    if bad is None:
        del scores[asked.candidates[0].id]
    with pytest.raises(DataError, match=asked.candidates[0].id[:12]):
        SimulatedLabeller(seed=0).answer(asked, scores)


@pytest.mark.parametrize("wrong", [{"mistakes": 1.1}, {"temperature": -1.0}, {"tie_margin": math.nan}])
def test_nonsense_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SimulatedLabeller(seed=0, **wrong)  # type: ignore[arg-type]
