"""Real processes on one store: they never answer twice, never leave a gap, and a SIGKILL leaves nothing half."""

import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest

from backflip.feedback.store import Counts, Store
from backflip.records import Candidate, Prompt, Question

# Opens the store (all at once, so all try to migrate it), waits for questions, and answers until none is left.
WORKER = """
import sys
from backflip.feedback.store import Store
from backflip.records import Answer, Labeller

url, name = sys.argv[1:]
labeller = Labeller(name, "simulated")
with Store.open(url) as store:
    print("open", flush=True)
    sys.stdin.readline()
    while (lease := store.lease(labeller)) is not None:
        tiers = tuple((c.id,) for c in lease.question.candidates)
        print(store.answer(Answer(lease.question.id, labeller, tiers)), flush=True)
"""

# Is killed inside a transaction that has already written a lot.
HALF = """
import sys
from backflip.feedback.store import Store
from backflip.records import Answer, Candidate, Labeller, Prompt, Question

with Store.open(sys.argv[1]) as store, store.transaction():
    for n in range(200):
        q = Question("text", (Candidate(text="yes"), Candidate(text="no")), Prompt.ask(f"half {n}"))
        store.add_questions([q])
        store.answer(Answer(q.id, Labeller("half", "import"), tuple((c.id,) for c in q.candidates)))
    print("half-way", flush=True)
    sys.stdin.readline()
"""


def ask(number: int) -> Question:
    return Question("text", (Candidate(text="yes"), Candidate(text="no")), Prompt.ask(f"question {number}"))


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def numbers(processes: Sequence[subprocess.Popen[str]]) -> list[int]:
    return [int(word) for process in processes for word in process.communicate("\n", timeout=60)[0].split()]


def test_processes_answer_each_question_once_without_gaps(store_url: str) -> None:
    workers = [start(WORKER, store_url, f"worker {n}") for n in range(3)]
    assert [line(worker) for worker in workers] == ["open"] * 3
    with Store.open(store_url) as store:
        store.add_questions([ask(n) for n in range(60)])
        for worker in workers:  # all begin before the first is waited for
            assert worker.stdin is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
        assert sorted(numbers(workers)) == list(range(1, 61))
        assert [n.sequence for n in store.answers()] == list(range(1, 61))
        assert len({n.answer.question for n in store.answers()}) == 60
        assert store.counts() == Counts(questions=60, open=0, leased=0, answers=60, wanted=0, withdrawn=0)


def test_killed_in_a_transaction_leaves_nothing_of_it(store_url: str) -> None:
    with Store.open(store_url) as store:
        store.add_questions([ask(0)])
        process = start(HALF, store_url)
        assert line(process) == "half-way"
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert list(store.questions()) == [ask(0)]
        assert (store.last_sequence(), store.labellers()) == (0, [])
        assert store.add_questions([ask(1)]) == 1  # and the writer's place is free again


@pytest.mark.parametrize("answers", [1, 7])
def test_killed_under_load_keeps_every_acknowledged_answer(store_url: str, answers: int) -> None:
    with Store.open(store_url) as store:
        store.add_questions([ask(n) for n in range(400)])
        process = start(WORKER, store_url, "worker")
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        acknowledged = [line(process) for _ in range(answers + 1)][1:]
        process.send_signal(signal.SIGKILL)
        rest = process.communicate(timeout=60)[0].split()
        stored = [n.sequence for n in store.answers()]
        assert stored == list(range(1, len(stored) + 1))
        assert len(acknowledged + rest) <= len(stored) <= len(acknowledged + rest) + 1  # one may be stored and unsaid
        assert store.counts().leased <= 1
