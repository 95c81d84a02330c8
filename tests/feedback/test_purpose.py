"""Leases and counts of one purpose, on every database."""

from __future__ import annotations

from backflip.feedback.store import Store
from backflip.records import Answer, Candidate, Labeller, Prompt, Question

ANN = Labeller("ann", "person")


def question(topic: str, purpose: str, priority: float = 0.0) -> Question:
    candidates = (Candidate(text=f"{topic}!"), Candidate(text=f"{topic}?"))
    return Question("text", candidates, Prompt.ask(topic), purpose=purpose, priority=priority)


def test_a_labeller_may_ask_for_one_purpose(store: Store) -> None:
    train, test = question("rain", "train"), question("snow", "evaluate", priority=1.0)
    store.add_questions([train, test])
    assert store.counts(purpose="train").wanted == store.counts(purpose="evaluate").wanted == 1
    assert store.counts().wanted == 2
    lease = store.lease(ANN, purpose="train")
    assert lease is not None
    assert lease.question == train  # though the other one comes first
    assert store.lease(ANN, purpose="train") is None
    number = store.answer(Answer(train.id, ANN, tuple((c.id,) for c in train.candidates)))
    store.withdraw(number, "a slip")
    seen, other = store.counts(purpose="train"), store.counts(purpose="evaluate")
    assert (seen.questions, seen.withdrawn, other.withdrawn, store.counts().withdrawn) == (1, 1, 0, 1)
    anything = store.lease(ANN)
    assert anything is not None
    assert anything.question == test
