"""The store's promises, each on SQLite and on PostgreSQL."""

import shutil
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from backflip.errors import DataError, DependencyError, FeedbackError, OutOfSpace
from backflip.feedback.queue import Lease, _next_open
from backflip.feedback.store import Counts, Numbered, Store
from backflip.records import Answer, Candidate, Demonstration, Labeller, Prompt, Question

ANN, BOB, CAT = (Labeller(name, "person") for name in ("ann", "bob", "cat"))


def ask(number: int, *, priority: float = 0.0, purpose: str = "train") -> Question:
    """Question `number`: two candidates, "yes" and "no"."""
    prompt = Prompt.ask(f"question {number}")
    return Question("text", (Candidate(text="yes"), Candidate(text="no")), prompt, purpose, priority)


def reply(question: Question, labeller: Labeller = ANN, *, turned: bool = False, note: str = "") -> Answer:
    """The first candidate of the canonical order is better, or the second if `turned`."""
    ids = [candidate.id for candidate in question.candidates]
    tiers = tuple((c,) for c in (ids[::-1] if turned else ids))
    return Answer(question=question.id, labeller=labeller, tiers=tiers, shown=tuple(ids), note=note)


def leased(lease: Lease | None) -> Question:
    assert lease is not None
    return lease.question


# --- questions


def test_a_question_asked_twice_is_one_and_only_rises(store: Store) -> None:
    assert store.add_questions([ask(1), ask(2), ask(1)]) == 2
    assert store.add_questions([ask(1, priority=5)], overlap=3) == 0
    assert store.add_questions([ask(1, priority=-5)], overlap=2) == 0
    assert store.question(ask(1).id) == ask(1, priority=5)
    assert list(store.questions()) == [ask(1, priority=5), ask(2)]
    assert store.counts() == Counts(questions=2, open=2, leased=0, answers=0, wanted=4, withdrawn=0)


def test_questions_are_chosen_by_project_and_purpose(store: Store) -> None:
    store.add_questions([ask(1), ask(2, purpose="evaluate")], project="one")
    store.add_questions([ask(3)], project="two")
    assert list(store.questions(project="one")) == [ask(1), ask(2, purpose="evaluate")]
    assert list(store.questions(purpose="train")) == [ask(1), ask(3)]
    with pytest.raises(FeedbackError, match="in project 'one'"):
        store.add_questions([ask(1)], project="two")


def test_many_questions_come_back_page_by_page_in_order(store: Store) -> None:
    many = [ask(number) for number in range(1203)]
    assert store.add_questions(many) == 1203
    assert list(store.questions()) == many


def test_what_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(FeedbackError, match="no question '00000000"):
        store.question("0" * 64)
    with pytest.raises(FeedbackError, match="no question"):
        store.answer(reply(ask(1)))
    with pytest.raises(FeedbackError, match="no answer 7"):
        store.withdraw(7, "wrong")
    with pytest.raises(FeedbackError, match="no labeller 'ann'"):
        store.withdraw("ann", "wrong")
    with pytest.raises(FeedbackError, match="overlap is 0"):
        store.add_questions([ask(1)], overlap=0)
    with pytest.raises(FeedbackError, match="asked for 0 leases"):
        store.leases(ANN, count=0)


# --- the queue


def test_highest_priority_first_then_oldest(store: Store) -> None:
    store.add_questions([ask(1), ask(2, priority=1), ask(3, priority=1), ask(4, priority=-1)])
    store.prioritise({ask(4).id: 2.0})
    order = [leased(store.lease(ANN)) for _ in range(4)]
    assert [q.prompt for q in order] == [ask(n).prompt for n in (4, 2, 3, 1)]
    assert store.lease(ANN) is None


def test_prefetch_gives_several_in_order_and_held_shows_them_again(store: Store) -> None:
    store.add_questions([ask(1), ask(2), ask(3, priority=1)])
    ahead = store.leases(ANN, count=2)
    assert [lease.question for lease in ahead] == [ask(3, priority=1), ask(1)]
    assert {lease.token for lease in store.held("ann")} == {lease.token for lease in ahead}
    assert store.held("bob") == []
    assert leased(store.lease(BOB)) == ask(2)
    assert store.counts() == Counts(questions=3, open=0, leased=3, answers=0, wanted=3, withdrawn=0)


def test_two_labellers_get_one_question_only_where_overlap_allows(store: Store) -> None:
    store.add_questions([ask(1)], overlap=2)
    assert leased(store.lease(ANN)) == leased(store.lease(BOB)) == ask(1)
    assert store.lease(CAT) is None
    assert store.lease(ANN) is None


def test_an_expired_lease_comes_back_and_a_late_answer_is_kept(store: Store, store_clock: Any) -> None:
    store.add_questions([ask(1)])
    store.lease(ANN, seconds=60)
    store_clock.now += 59.9
    assert store.lease(BOB) is None
    store_clock.now += 0.1
    assert store.counts().open == 1
    assert store.held("ann") == []
    assert leased(store.lease(BOB)) == ask(1)
    assert store.answer(reply(ask(1), ANN)) == 1  # Ann was slow; her work is not thrown away
    assert store.answer(reply(ask(1), BOB)) == 2
    assert store.counts() == Counts(questions=1, open=0, leased=0, answers=2, wanted=0, withdrawn=0)


def test_released_goes_to_anybody_and_only_once(store: Store) -> None:
    store.add_questions([ask(1)])
    lease = store.lease(ANN)
    assert lease is not None
    assert store.release(lease)
    assert not store.release(lease)
    assert leased(store.lease(ANN)) == ask(1)


def test_passed_on_goes_to_somebody_else_and_never_back(store: Store, store_clock: Any) -> None:
    store.add_questions([ask(1)])
    lease = store.lease(ANN)
    assert lease is not None
    store_clock.now += 1000  # passing on works after the lease is over, too
    store.pass_on(lease, "outside my knowledge")
    assert store.lease(ANN) is None
    assert leased(store.lease(BOB)) == ask(1)
    store.answer(reply(ask(1), BOB))
    with pytest.raises(FeedbackError, match="cannot pass on"):
        store.pass_on(replace(lease, labeller="bob"), "changed my mind")


def test_a_retired_question_is_asked_no_more(store: Store) -> None:
    store.add_questions([ask(1), ask(2)], overlap=2)
    store.answer(reply(ask(1), ANN))
    store.retire([ask(1).id])
    assert leased(store.lease(BOB)) == ask(2)
    assert store.lease(BOB) is None
    assert [n.answer for n in store.answers()] == [reply(ask(1), ANN)]


def test_projects_have_queues_of_their_own(store: Store) -> None:
    store.add_questions([ask(1, priority=9)], project="other")
    assert store.lease(ANN) is None
    assert leased(store.lease(ANN, project="other")).prompt == ask(1).prompt


def test_the_next_question_is_one_look_into_an_index(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store, store._database.read() as connection:
        query = _next_open("ann", "default", "text", "train", limit=1).compile(
            dialect=connection.dialect, compile_kwargs={"literal_binds": True}
        )
        plan = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
    assert plan[0] == "SEARCH queue USING INDEX queue_open (project=? AND medium=? AND purpose=?)"
    assert not any("SCAN" in step or "TEMP B-TREE" in step for step in plan)


# --- answers


def test_answers_are_numbered_and_come_back_whole(store: Store) -> None:
    store.add_questions([ask(1), ask(2, purpose="evaluate")], overlap=2)
    first = replace(
        reply(ask(1)), seconds=3.5, note="计", ratings={ask(1).candidates[0].id: 7}, time="2024-01-01T00:00:00Z"
    )
    second = Answer(ask(2, purpose="evaluate").id, BOB, tiers=())
    assert [store.answer(first), store.answer(second), store.answer(reply(ask(1), CAT))] == [1, 2, 3]
    assert list(store.answers()) == [Numbered(1, first), Numbered(2, second), Numbered(3, reply(ask(1), CAT))]
    assert [n.sequence for n in store.answers(up_to=2)] == [1, 2]
    assert [n.sequence for n in store.answers(after=1)] == [2, 3]
    assert [n.sequence for n in store.answers(purpose="evaluate")] == [2]
    assert [n.sequence for n in store.answers(project="none")] == []
    assert store.last_sequence() == 3


def test_an_answer_that_does_not_fit_changes_nothing(store: Store) -> None:
    store.add_questions([ask(1)])
    with pytest.raises(DataError, match="does not have"):
        store.answer(replace(reply(ask(1)), tiers=(("f" * 64,),)))
    assert store.last_sequence() == 0
    assert store.labellers() == []
    assert store.counts().open == 1


def test_a_key_makes_sending_twice_safe(store: Store) -> None:
    store.add_questions([ask(1), ask(2)])
    assert store.answer(reply(ask(1)), key="k") == 1
    assert store.answer(reply(ask(1), note="sent again"), key="k") == 1
    assert store.last_sequence() == 1
    with pytest.raises(FeedbackError, match="key 'k' was used"):
        store.answer(reply(ask(2)), key="k")
    with pytest.raises(FeedbackError, match="already answered"):
        store.answer(reply(ask(1)), key="other")
    assert store.answer(reply(ask(2), BOB), key="k") == 2  # keys are each labeller's own


def test_a_labeller_keeps_their_kind(store: Store) -> None:
    store.add_questions([ask(1)])
    store.add_labeller(Labeller("ann", "person", {"language": "zh"}))
    with pytest.raises(FeedbackError, match="known as 'person', not 'simulated'"):
        store.answer(reply(ask(1), Labeller("ann", "simulated")))
    store.answer(reply(ask(1), Labeller("ann", "person")))
    assert store.labellers(kind="person") == [Labeller("ann", "person", {"language": "zh"})]
    assert store.labellers(kind="import") == []


# --- withdrawals and lineage


def test_a_withdrawn_answer_is_left_out_and_its_question_is_open_for_others(store: Store) -> None:
    store.add_questions([ask(1), ask(2)])
    store.answer(reply(ask(1), ANN))
    store.answer(reply(ask(2), ANN))
    assert store.withdraw(1, "a slip") == 1
    assert store.withdraw(1, "again") == 0
    assert [n.sequence for n in store.answers()] == [2]
    assert [n.sequence for n in store.answers(include_withdrawn=True)] == [1, 2]
    assert [(w.number, w.sequence, w.reason) for w in store.withdrawals()] == [(1, 1, "a slip")]
    assert store.lease(ANN) is None
    assert leased(store.lease(BOB)) == ask(1)
    assert store.answer(reply(ask(1), ANN, turned=True)) == 3  # Ann corrects herself
    assert store.counts() == Counts(questions=2, open=0, leased=1, answers=2, wanted=0, withdrawn=1)


def test_all_of_a_labeller_can_be_withdrawn(store: Store) -> None:
    store.add_questions([ask(n) for n in range(3)], overlap=2)
    for n, labeller in ((0, ANN), (0, BOB), (1, BOB), (2, BOB)):
        store.answer(reply(ask(n), labeller))
    store.withdraw(3, "first")
    assert store.withdraw("bob", "answered at random") == 2
    assert [n.answer.labeller for n in store.answers()] == [ANN]
    assert [w.sequence for w in store.withdrawals()] == [3, 2, 4]


def test_a_snapshot_names_exactly_what_was_trained_on(store: Store) -> None:
    empty = store.snapshot()
    assert (empty.up_to, empty.withdrawn, empty.answers) == (0, 0, 0)
    store.add_questions([ask(1), ask(2)], overlap=2)
    for n, labeller in ((1, ANN), (2, ANN), (1, BOB)):
        store.answer(reply(ask(n), labeller))
    whole, two = store.snapshot(), store.snapshot(up_to=2)
    assert (whole.up_to, whole.answers, two.up_to, two.answers) == (3, 3, 2, 2)
    store.answer(reply(ask(2), BOB))
    assert store.snapshot(up_to=3) == whole  # later answers change nothing
    store.withdraw(3, "gone")
    less = store.snapshot(up_to=3)
    assert (less.withdrawn, less.answers, less.digest) == (1, 2, two.digest)
    assert store.snapshot(project="none").answers == 0


# --- demonstrations and prompts


def test_demonstrations_keep_author_and_order(store: Store) -> None:
    maker = Labeller("us", "maker")
    new = [Demonstration(Prompt.ask(f"why {n}?"), "because", maker, source="ours") for n in range(3)]
    assert store.add_demonstrations([*new, new[0]], project="demo") == 3
    assert store.add_demonstrations(new, project="demo") == 0
    assert list(store.demonstrations()) == list(store.demonstrations(project="demo")) == new
    assert list(store.demonstrations(project="other")) == []


def test_a_prompt_is_in_one_split(store: Store) -> None:
    train, test = [Prompt.ask(f"a{n}", user="u") for n in range(3)], [Prompt.ask("b")]
    assert store.add_prompts(train, name="set") == 3
    assert store.add_prompts(test, name="set", split="test") == 1
    assert store.add_prompts(train, name="another", split="test") == 3
    assert list(store.prompts(name="set")) == train + test
    assert list(store.prompts(name="set", split="test")) == test
    with pytest.raises(DataError, match="in split 'train' of 'set'"):
        store.add_prompts([Prompt.ask("c"), train[1]], name="set", split="test")
    assert list(store.prompts(name="set", split="test")) == test


# --- transactions, threads and trouble


def test_a_transaction_is_kept_whole_or_not_at_all(store: Store) -> None:
    def import_some(last: Answer) -> None:
        with store.transaction():
            store.add_questions([ask(1), ask(2)])
            store.answer(reply(ask(1)))
            store.answer(last)

    with pytest.raises(FeedbackError, match="already answered"):
        import_some(reply(ask(1)))
    assert (list(store.questions()), store.labellers(), store.last_sequence()) == ([], [], 0)
    import_some(reply(ask(2)))
    assert store.last_sequence() == 2


def test_a_refused_answer_inside_a_transaction_can_be_passed_over(store: Store) -> None:
    with store.transaction():
        store.add_questions([ask(1)])
        store.answer(reply(ask(1)))
        with pytest.raises(FeedbackError):
            store.answer(reply(ask(1)))
        assert store.lease(BOB) is None
    assert store.last_sequence() == 1


def test_threads_share_a_store(store: Store) -> None:
    store.add_questions([ask(n) for n in range(40)])
    numbers: list[int] = []

    def work(name: str) -> None:
        labeller = Labeller(name, "person")
        while (lease := store.lease(labeller)) is not None:
            with store.transaction():
                numbers.append(store.answer(reply(lease.question, labeller)))

    threads = [threading.Thread(target=work, args=(f"labeller {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 41))
    assert store.counts() == Counts(questions=40, open=0, leased=0, answers=40, wanted=0, withdrawn=0)


def test_a_full_disk_is_out_of_space_and_leaves_nothing_half(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store:
        store.add_questions([ask(0)])

        def shrink(connection: Any, _record: Any, _proxy: Any) -> None:
            connection.execute("PRAGMA max_page_count=60")

        sa.event.listen(store._database._engine, "checkout", shrink)
        with pytest.raises(OutOfSpace, match=r"no space is left for the store .*store\.db"):
            store.add_questions([ask(n) for n in range(1, 2000)])
        assert list(store.questions()) == [ask(0)]
        assert store.answer(reply(ask(0))) == 1


@pytest.mark.parametrize(("free", "kind"), [(4096, OutOfSpace), (10**9, FeedbackError)])
def test_sqlite_may_call_a_full_disk_an_io_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, kind: type[Exception]
) -> None:
    error = sa.exc.OperationalError("INSERT", {}, sqlite3.OperationalError("disk I/O error"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, free))
    with Store.open(tmp_path / "store.db") as store, pytest.raises(kind), store.database.read():
        raise error


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("dear diary " * 100)
    with pytest.raises(DataError, match=r"notes\.txt is not a Backflip store"):
        Store.open(tmp_path / "notes.txt")


@pytest.mark.parametrize("url", ["mysql://host/name", "sqlite://", ":memory:", "not a url://"])
def test_a_wrong_url_says_what_is_wanted(url: str) -> None:
    with pytest.raises(FeedbackError, match=r"wanted a path, sqlite:///PATH or postgresql|give the path of a file"):
        Store.open(url)


def test_a_missing_driver_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(DependencyError, match=r"backflip\[postgresql\]"):
        Store.open("postgresql://localhost/nowhere")


def test_a_server_that_does_not_answer_is_one_clear_error(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not here; pip install 'backflip[postgresql]'")
    with pytest.raises(FeedbackError, match=r"\*\*\*@.* failed: .*try again") as caught:
        Store.open(f"postgresql://ann:secret@/store?host={tmp_path}")
    assert "secret" not in str(caught.value)
