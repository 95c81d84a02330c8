"""People's rankings as pairwise results."""

from __future__ import annotations

from backflip.evaluation.people import blind_question, preferred_tally
from backflip.evaluation.winrate import Tally
from backflip.records import Answer, Candidate, Labeller, Prompt

PROMPT = Prompt.ask("What is rain?")
A, B, C = (Candidate(text=text) for text in ("water", "wet", "wind"))


def answer(question: str, *tiers: tuple[str, ...], who: str = "ann") -> Answer:
    return Answer(question, Labeller(who, "person"), tiers)


def test_pairs_are_read_off_rankings() -> None:
    question = blind_question(PROMPT, {"a": A, "b": B, "c": C})
    assert question is not None
    answers = [
        answer(question.id, (A.id,), (B.id, C.id)),  # a > b = c
        answer(question.id, (B.id,), (A.id,), (C.id,), who="bob"),  # b > a > c
        answer(question.id, who="eve"),  # cannot tell
    ]
    assert preferred_tally(A.id, B.id, answers) == Tally(1.0, 2)
    assert preferred_tally(A.id, C.id, answers) == Tally(2.0, 2)
    assert preferred_tally(B.id, C.id, answers) == Tally(1.5, 2)
    assert preferred_tally(C.id, B.id, answers) == Tally(0.5, 2)


def test_the_same_text_is_one_candidate_and_one_tie() -> None:
    question = blind_question(PROMPT, {"a": A, "b": B, "twin": Candidate(text="water")})
    assert question is not None
    assert {c.text: c.origin for c in question.candidates} == {"water": "a+twin", "wet": "b"}
    assert question.purpose == "evaluate"
    assert preferred_tally(A.id, A.id, []) == Tally(0.5, 1)


def test_where_all_wrote_the_same_nobody_is_asked() -> None:
    assert blind_question(PROMPT, {"a": A, "b": Candidate(text="water")}) is None
