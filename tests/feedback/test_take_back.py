"""Undo, lanes and a labeller's own answers, on every database."""

from __future__ import annotations

from typing import Any

import pytest

from backflip.errors import FeedbackError
from backflip.feedback.store import Lease, Store
from backflip.records import Answer, Candidate, Labeller, Medium, Prompt, Question

ANN, BOB = Labeller("ann", "person"), Labeller("bob", "person")


def ask(number: int, *, medium: Medium = "text", purpose: str = "train", priority: float = 0.0) -> Question:
    kind = "text" if medium == "text" else "media"
    candidates = tuple(Candidate(**{kind: f"{number} {side}"}) for side in "ab")
    return Question(medium, candidates, Prompt.ask(f"{number}"), purpose, priority)


def say(store: Store, lease: Lease | None, who: Labeller = ANN) -> int:
    assert lease is not None
    return store.answer(Answer(lease.question.id, who, tuple((c.id,) for c in lease.question.candidates)))


def test_what_was_taken_back_waits_for_the_same_labeller(store: Store, store_clock: Any) -> None:
    store.add_questions([ask(1)])
    number = say(store, store.lease(ANN))
    again = store.take_back(number, "ann", seconds=60)
    assert (again.question.id, again.labeller, again.expires) == (ask(1).id, "ann", store_clock.now + 60)
    assert store.lease(BOB) is None
    assert [w.reason for w in store.withdrawals()] == ["undo"]
    assert store.take_back(number, "ann").question == again.question  # sent twice
    counts = store.counts()
    assert (counts.answers, counts.leased, counts.withdrawn) == (0, 1, 1)
    assert say(store, again) == 2
    with pytest.raises(FeedbackError, match="'ann' has no answer 1 to take back"):
        store.take_back(number, "ann")
    store.take_back(2, "ann", seconds=60)
    store_clock.now += 61
    assert store.lease(BOB) is not None  # it is anybody's when the lease is over


def test_only_ones_own_answer_is_taken_back(store: Store) -> None:
    store.add_questions([ask(1)])
    number = say(store, store.lease(ANN))
    for sequence, who in ((number, "bob"), (99, "ann")):
        with pytest.raises(FeedbackError, match="to take back"):
            store.take_back(sequence, who)
    assert len(list(store.answers())) == 1


def test_an_answer_that_was_withdrawn_can_be_given_anew(store: Store) -> None:
    store.add_questions([ask(1)])
    number = say(store, store.lease(ANN))
    store.withdraw(number, "asked to")
    assert say(store, store.take_back(number, "ann")) == 2
    assert store.counts().answers == 1


def test_lanes_are_mixed_by_priority_and_kept_apart_where_asked(store: Store) -> None:
    store.add_questions(
        [ask(1), ask(2, medium="clip", priority=2), ask(3, purpose="gold", priority=3), ask(4, priority=1)]
    )
    everything = [lease.question.id for lease in store.leases(ANN, count=9)]
    assert everything == [q.id for q in (ask(3, purpose="gold"), ask(2, medium="clip"), ask(4), ask(1))]
    assert store.counts(but=("gold",)).questions == 3
    for lease in store.held("ann"):
        store.release(lease)
    usual = [lease.question.id for lease in store.leases(ANN, count=9, but=("gold",))]
    assert usual == everything[1:]
    for lease in store.held("ann"):
        store.release(lease)
    assert [lease.question.medium for lease in store.leases(ANN, count=9, medium="clip")] == ["clip"]


def test_a_labellers_own_answers_newest_first(store: Store) -> None:
    store.add_questions((ask(i) for i in range(4)), overlap=2)
    for who in (ANN, BOB, ANN):
        say(store, store.lease(who), who)
    store.withdraw(1, "a slip")
    assert [(n.sequence, gone) for n, gone in store.last_answers("ann")] == [(3, False), (1, True)]
    assert [n.sequence for n, _ in store.last_answers("ann", before=3, limit=1)] == [1]
    assert [n.sequence for n in store.answers(labeller="bob")] == [2]
    assert store.gave("ann", [1, 3])
    assert not store.gave("ann", [1, 2])
    assert not store.gave("ann", [4])


def test_a_withdrawn_demonstration_counts_again_when_it_is_added_again(store: Store) -> None:
    from backflip.records import Demonstration

    shown = Demonstration(Prompt.ask("why?"), "so", ANN)
    assert store.add_demonstrations([shown]) == 1
    assert store.withdraw_demonstration(shown.id)
    assert not store.withdraw_demonstration(shown.id)
    assert list(store.demonstrations()) == []
    assert store.add_demonstrations([shown]) == 0
    assert list(store.demonstrations()) == [shown]


def test_a_whole_transaction_is_undone_by_what_is_refused_in_it(store: Store) -> None:
    store.add_questions([ask(1), ask(2)])

    def twice() -> None:
        with store.transaction(whole=True):
            lease = store.lease(ANN)
            say(store, lease)
            say(store, lease)

    with pytest.raises(FeedbackError, match="has already answered"):
        twice()
    assert list(store.answers()) == []
    assert store.counts().leased == 0
    with store.transaction(whole=True):
        say(store, store.lease(ANN))
    assert store.counts().answers == 1
