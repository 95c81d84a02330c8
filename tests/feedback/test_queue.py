"""The queue against a model in plain Python: whatever labellers do, in whatever order, both agree."""

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backflip.errors import FeedbackError
from backflip.feedback.store import Counts, Lease, Store
from backflip.records import Answer, Candidate, Labeller, Prompt, Question

NAMES = ("ann", "bob", "cat")
names, numbers = st.sampled_from(NAMES), st.integers(0, 4)
priorities = st.sampled_from([0.0, 1.0, 2.0])


@dataclass
class Entry:
    """What the model knows of a question."""

    arrival: int
    priority: float
    overlap: int
    states: dict[str, str] = field(default_factory=dict)  # by labeller: answered, passed or withdrawn
    leases: dict[str, tuple[str, float]] = field(default_factory=dict)  # by labeller: token, expires

    def answered(self) -> int:
        return list(self.states.values()).count("answered")

    def live(self, now: float) -> int:
        return sum(expires > now for _, expires in self.leases.values())

    def is_open(self, now: float) -> bool:
        return self.answered() + self.live(now) < self.overlap

    def holds(self, name: str, now: float) -> bool:
        return name in self.leases and self.leases[name][1] > now


class Queue(RuleBasedStateMachine):
    """One project of a shared store; labellers and questions are the example's own."""

    fresh = itertools.count()

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store, self.now, self.tag = store, 0.0, f"example {next(self.fresh)}"
        self.entries: dict[int, Entry] = {}
        self.leases: list[tuple[int, Lease]] = []
        self.answers: list[tuple[int, int, str]] = []  # sequence, question, labeller
        self.withdrawn: set[int] = set()
        self.start = self.last = store.last_sequence()

    def who(self, name: str) -> Labeller:
        return Labeller(f"{name} of {self.tag}", "person")

    def question(self, number: int, priority: float = 0.0) -> Question:
        prompt = Prompt.ask(f"{number} of {self.tag}")
        candidates = (Candidate(text="yes"), Candidate(text="no"))
        return Question("text", candidates, prompt, purpose=self.purpose(number), priority=priority)

    @staticmethod
    def purpose(number: int) -> str:
        return "gold" if number % 2 else "train"

    def reply(self, number: int, name: str) -> Answer:
        question = self.question(number)
        return Answer(question.id, self.who(name), tuple((c.id,) for c in question.candidates))

    @initialize()
    def labellers(self) -> None:
        for name in NAMES:
            self.store.add_labeller(self.who(name))

    @rule(number=numbers, priority=priorities, overlap=st.integers(1, 3))
    def add(self, number: int, priority: float, overlap: int) -> None:
        added = self.store.add_questions([self.question(number, priority)], overlap=overlap, project=self.tag)
        assert added == (number not in self.entries)
        entry = self.entries.setdefault(number, Entry(len(self.entries), priority, overlap))
        entry.priority, entry.overlap = max(entry.priority, priority), max(entry.overlap, overlap)

    @rule(
        name=names,
        count=st.integers(1, 3),
        seconds=st.sampled_from([5.0, 20.0]),
        purpose=st.sampled_from([None, "gold"]),
    )
    def lease(self, name: str, count: int, seconds: float, purpose: str | None) -> None:
        leases = self.store.leases(
            self.who(name), count=count, seconds=seconds, project=self.tag, purpose=purpose, now=self.now
        )
        mine = [
            (-entry.priority, entry.arrival, number)
            for number, entry in self.entries.items()
            if entry.is_open(self.now) and not entry.holds(name, self.now) and name not in entry.states
            if purpose in (None, self.purpose(number))
        ]
        expected = [number for *_, number in sorted(mine)[:count]]
        assert [lease.question.id for lease in leases] == [self.question(number).id for number in expected]
        for number, lease in zip(expected, leases, strict=True):
            assert lease.expires == self.now + seconds
            self.entries[number].leases[name] = (lease.token, lease.expires)
            self.leases.append((number, lease))

    @rule(seconds=st.sampled_from([1.0, 5.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        number, lease = data.draw(st.sampled_from(self.leases))
        name = lease.labeller.split()[0]
        held = self.entries[number].leases.get(name, ("", 0.0))
        live = held[0] == lease.token and held[1] > self.now
        assert self.store.release(lease, now=self.now) == live
        if live:
            del self.entries[number].leases[name]

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def pass_on(self, data: st.DataObject) -> None:
        number, lease = data.draw(st.sampled_from(self.leases))
        name, entry = lease.labeller.split()[0], self.entries[number]
        if entry.states.get(name) in ("answered", "withdrawn"):
            with pytest.raises(FeedbackError, match="cannot pass on"):
                self.store.pass_on(lease, "")
            return
        self.store.pass_on(lease, "outside my knowledge")
        entry.states[name] = "passed"
        entry.leases.pop(name, None)

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), name=names, key=st.none() | st.sampled_from(["k", "l"]))
    def answer(self, data: st.DataObject, name: str, key: str | None) -> None:
        number = data.draw(st.sampled_from(sorted(self.entries)))
        entry, key = self.entries[number], key and f"{key} {number}"
        if entry.states.get(name) == "answered":
            with pytest.raises(FeedbackError, match="already answered"):
                self.store.answer(self.reply(number, name))
            return
        sequence = self.store.answer(self.reply(number, name), key=key)
        if any(sequence == old for old, *_ in self.answers):  # the key was used before, so nothing was stored
            assert key is not None
            assert (sequence, number, name) in self.answers
            return
        assert sequence == self.last + 1
        self.last = sequence
        self.answers.append((sequence, number, name))
        entry.states[name] = "answered"
        entry.leases.pop(name, None)

    @precondition(lambda self: set(self.answers) - {a for a in self.answers if a[0] in self.withdrawn})
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        """What undo does: the answer is withdrawn, and the same labeller answers again."""
        live = [answer for answer in self.answers if answer[0] not in self.withdrawn]
        sequence, number, name = data.draw(st.sampled_from(live))
        assert self.store.withdraw(sequence, "undone") == self._withdraw([(sequence, number, name)])
        assert self.store.answer(self.reply(number, name)) == self.last + 1
        self.last += 1
        self.answers.append((self.last, number, name))
        self.entries[number].states[name] = "answered"
        self.entries[number].leases.pop(name, None)

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def withdraw_one(self, data: st.DataObject) -> None:
        answer = data.draw(st.sampled_from(self.answers))
        assert self.store.withdraw(answer[0], "a slip") == self._withdraw([answer])

    @rule(name=names)
    def withdraw_all(self, name: str) -> None:
        mine = [answer for answer in self.answers if answer[2] == name]
        assert self.store.withdraw(self.who(name).id, "all") == self._withdraw(mine)

    def _withdraw(self, answers: list[tuple[int, int, str]]) -> int:
        live = [answer for answer in answers if answer[0] not in self.withdrawn]
        for sequence, number, name in live:
            self.withdrawn.add(sequence)
            self.entries[number].states[name] = "withdrawn"
        return len(live)

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), priority=priorities)
    def prioritise(self, data: st.DataObject, priority: float) -> None:
        number = data.draw(st.sampled_from(sorted(self.entries)))
        self.store.prioritise({self.question(number).id: priority})
        self.entries[number].priority = priority

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.entries)))
        self.store.retire([self.question(number).id])
        self.entries[number].overlap = self.entries[number].answered()

    @invariant()
    def counters_agree(self) -> None:
        for purpose in (None, "gold"):
            entries = [e for number, e in self.entries.items() if purpose in (None, self.purpose(number))]
            gone = [a for a in self.answers if a[0] in self.withdrawn and purpose in (None, self.purpose(a[1]))]
            assert self.store.counts(self.tag, purpose=purpose, now=self.now) == Counts(
                questions=len(entries),
                open=sum(entry.is_open(self.now) for entry in entries),
                leased=sum(entry.live(self.now) for entry in entries),
                answers=sum(entry.answered() for entry in entries),
                wanted=sum(max(0, entry.overlap - entry.answered()) for entry in entries),
                withdrawn=len(gone),
            )

    @invariant()
    def what_is_held_agrees(self) -> None:
        for name in NAMES:
            held = self.store.held(self.who(name).id, project=self.tag, now=self.now)
            mine = {e.leases[name][0] for e in self.entries.values() if e.holds(name, self.now)}
            assert {lease.token for lease in held} == mine

    @invariant()
    def answers_agree(self) -> None:
        kept = [a for a in self.answers if a[0] not in self.withdrawn]
        found = [(n.sequence, n.answer) for n in self.store.answers(after=self.start)]
        assert found == [(sequence, self.reply(number, name)) for sequence, number, name in kept]
        snapshot = self.store.snapshot(project=self.tag)
        assert (snapshot.up_to, snapshot.answers, snapshot.withdrawn) == (self.last, len(kept), len(self.withdrawn))


def test_the_queue_agrees_with_a_model(store: Store, store_url: str) -> None:
    examples = 25 if store_url.startswith("sqlite") else 10
    run_state_machine_as_test(
        lambda: Queue(store),
        settings=settings(
            max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
