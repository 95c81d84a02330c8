"""Migrations: today's tables, yesterday's stores, and nothing half done."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from backflip.errors import FeedbackError
from backflip.feedback.database import Database
from backflip.feedback.migrations import MIGRATIONS, Migration, migrate, version
from backflip.feedback.schema import metadata
from backflip.feedback.store import Counts, Store
from backflip.records import Candidate, Demonstration, Labeller, Prompt, Question, content_id

# A step that was released never changes: a store that ran it would not run it again. Add a step, and its digest here.
RELEASED = [
    "341d13d77cba9c3d430db7b061422aef54b04b8b5584222f0d96a675ced1f854",
    "39675f28faa4c4ef8c30785410b541053d10df3cf4d16b950b8ecd4f3182e646",
]
VERSION_1 = Path(__file__).with_name("store_version_1.sql")


def test_released_steps_never_change() -> None:
    assert [content_id(*step) for step in MIGRATIONS] == RELEASED


def test_migrations_make_the_tables_that_queries_expect(store_url: str, store: Store) -> None:
    with store._database.read() as connection:
        found = sa.MetaData()
        found.reflect(connection)

    def shape(tables: sa.MetaData) -> dict[str, dict[str, tuple[str, bool, bool]]]:
        return {
            table.name: {
                c.name: (c.type._type_affinity.__name__, bool(c.nullable) and not c.primary_key, c.primary_key)
                for c in table.c
            }
            for table in tables.tables.values()
        }

    assert shape(found) == shape(metadata)


def test_migrating_twice_does_nothing(store: Store) -> None:
    assert migrate(store._database) == 0
    with store._database.read() as connection:
        assert version(connection) == len(MIGRATIONS)


def test_a_newer_store_is_refused(store_url: str, store: Store) -> None:
    with store._database.write() as connection:
        connection.exec_driver_sql("INSERT INTO migrations (version, name, applied) VALUES (99, 'later', 0)")
    with pytest.raises(FeedbackError, match=rf"at version 99, .* up to {len(MIGRATIONS)}; upgrade Backflip"):
        Store.open(store_url)


def test_a_step_that_fails_leaves_nothing(store: Store) -> None:
    broken = Migration("more", ("CREATE TABLE more (a INTEGER)", "CREATE TABLE labellers (a INTEGER)"))
    with pytest.raises(FeedbackError, match="labellers"):
        migrate(store._database, steps=(*MIGRATIONS, broken))
    whole = Migration("more", broken.statements[:1])
    assert migrate(store._database, steps=(*MIGRATIONS, whole)) == 1  # or the table would be there already


def test_a_store_of_version_1_opens_with_all_that_is_in_it(store_url: str) -> None:
    database = Database.open(store_url)
    with database.write() as connection:
        for statement in VERSION_1.read_text(encoding="utf-8").split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    database.close()
    with Store.open(store_url, clock=lambda: 1700000000.0) as store:
        assert [question.priority for question in store.questions()] == [1.0, 2.0, 3.0]
        assert [(n.sequence, n.answer.labeller.id) for n in store.answers()] == [(1, "ann"), (3, "ann")]
        assert [w.reason for w in store.withdrawals()] == ["a slip"]
        assert store.snapshot().digest == "5921dd97bbe1a250ccb6e6ece5268e4badbb0e11e10ae73b359bedaf9f07348b"
        assert store.counts() == Counts(questions=3, open=3, leased=1, answers=2, wanted=4, withdrawn=1)
        assert [lease.token for lease in store.held("judge")] == ["token-1"]
        assert store.labellers(kind="person") == [Labeller("ann", "person", {"language": "en"})]
        assert list(store.demonstrations()) == [Demonstration(Prompt.ask("why?"), "because", Labeller("us", "maker"))]
        assert [prompt.user for prompt in store.prompts(name="set", split="test")] == ["u1"]
        new = Question("text", (Candidate(text="yes"), Candidate(text="no")), Prompt.ask("question 4"))
        assert store.add_questions([new]) == 1
        assert store.lease(Labeller("ann", "person")) is not None
