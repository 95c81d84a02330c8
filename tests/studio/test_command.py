"""`backflip studio` as a process: its words when it cannot start, its end, and that nothing acknowledged is lost."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from studio_kit import PROJECT, ask

from backflip.errors import ConfigError, FeedbackError
from backflip.feedback.store import Store
from backflip.studio.accounts.entry import Accounts
from backflip.studio.client import Client
from backflip.studio.command import Config, listen, open_store, run
from backflip.studio.users import User

BOSS = User("boss", "boss", "admin")


@dataclass
class Process:
    """A studio that runs."""

    process: subprocess.Popen[str]
    url: str
    printed: str


@contextmanager
def started(store: Path, *options: str) -> Iterator[Process]:
    """The real server in a process of its own."""
    command = [sys.executable, "-m", "backflip", "studio", "--port", "0", "--store", str(store), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            words = "".join(iter(process.stdout.readline, "Ctrl-C ends it\n"))
            found = re.search(r"open at (http://127\.0\.0\.1:\d+)", words)
            assert found, words
            yield Process(process, found[1], words)
        finally:
            process.kill()


def tokens(path: Path, count: int, *, questions: int) -> list[str]:
    """A store with questions, and the tokens of labellers."""
    with Store.open(path) as store:
        store.add_questions(ask(i) for i in range(questions))
        accounts = Accounts(store, time.time, session_seconds=60)
        return [
            accounts.add_script(f"v{i}", kind="simulated", projects=[PROJECT], admin=BOSS, address="")
            for i in range(count)
        ]


def test_killed_under_load_it_keeps_every_acknowledged_answer_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    words = tokens(path, 6, questions=3000)
    acknowledged: dict[str, set[int]] = {word: set() for word in words}
    enough = threading.Event()

    def work(url: str, word: str) -> None:
        """Answers as fast as it can, until the server is gone."""
        with Client(url, word, tries=1) as client, suppress(FeedbackError):
            for task in client.tasks(ahead=2):
                acknowledged[word].add(client.answer(task, [[c] for c in task.candidates]))
                if sum(map(len, acknowledged.values())) > 60:
                    enough.set()

    with started(path, "--accounts") as studio, ThreadPoolExecutor(len(words)) as pool:
        works = [pool.submit(work, studio.url, word) for word in words]
        assert enough.wait(60)
        studio.process.send_signal(signal.SIGKILL)
        for done in works:
            done.result()
    with started(path, "--accounts"), Store.open(path) as store:  # the same command goes on
        kept = [(n.sequence, n.answer.labeller.id, n.answer.question) for n in store.answers()]
    sequences = [sequence for sequence, *_ in kept]
    assert sequences == list(range(1, len(kept) + 1))
    assert set().union(*acknowledged.values()) <= set(sequences)
    assert sum(map(len, acknowledged.values())) == len(set().union(*acknowledged.values()))
    assert len({(who, question) for _, who, question in kept}) == len(kept)
    assert len(kept) - len(set().union(*acknowledged.values())) <= len(words)  # those that were under way


def test_ctrl_c_ends_it_cleanly_even_while_somebody_looks_on(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    (word,) = tokens(path, 1, questions=1)
    with started(path, "--accounts") as studio:
        connection = http.client.HTTPConnection(studio.url.removeprefix("http://"), timeout=20)
        connection.request("GET", "/api/events", headers={"Authorization": f"Bearer {word}"})
        stream = connection.getresponse()
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.readline() == b"retry: 2000\n"
        studio.process.send_signal(signal.SIGINT)
        stream.read()  # it ends by itself
        out, err = studio.process.communicate(timeout=20)
        connection.close()
        assert (studio.process.returncode, err) == (0, "")
    assert "the studio has stopped; all that was answered is kept" in out
    assert f"the first admin joins at {studio.url}/invitation/" in studio.printed


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FeedbackError, match=f"port {port} of 127.0.0.1 is taken, .* give another --port"):
            run(Config(store=str(tmp_path / "store.db"), new=True, port=port))


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.7 port 0"):
        listen("192.0.2.7", 0)


def test_responses_are_not_held_back() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_missing_store_is_not_made_by_a_slip(tmp_path: Path) -> None:
    path = tmp_path / "nothere.db"
    with pytest.raises(FeedbackError, match=r"there is no store .*nothere\.db; add --new"):
        open_store(Config(store=str(path)))
    assert not path.exists()
    open_store(Config(store=str(path), new=True)).close()
    assert path.exists()


def test_a_store_that_cannot_be_opened_or_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FeedbackError, match="cannot be made"):
        open_store(Config(store=str(tmp_path / "file" / "store.db"), new=True))
    with pytest.raises(FeedbackError, match=r"unable to open"):
        open_store(Config(store=str(tmp_path), new=True))


def test_a_store_that_cannot_be_written_is_told_of_before_anybody_answers(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    open_store(Config(store=str(path), new=True)).close()
    url = f"sqlite:///file:{path}?mode=ro&uri=true"  # as on a read-only disk; root writes to any file
    with pytest.raises(FeedbackError, match="readonly"):
        open_store(Config(store=url))


def test_the_default_store_is_filled_where_it_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calls: list[Store] = []
    for _ in range(2):
        open_store(Config(), calls.append).close()
    assert len(calls) == 1


def test_the_client_says_what_the_server_said(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    (word,) = tokens(path, 1, questions=1)
    with started(path, "--accounts") as studio:
        with Client(studio.url, "bf_wrong") as nobody, pytest.raises(FeedbackError, match="you are not signed in"):
            nobody.lease()
        with (
            Client(studio.url, word, project="other") as lost,
            pytest.raises(FeedbackError, match="no project 'other'"),
        ):
            lost.lease()
        with Client(studio.url, word) as client:
            (task,) = client.lease()
            assert task.prompt == ask(0).prompt
            assert set(task.candidates.values()) == set(ask(0).candidates)
            sequence = client.answer(task, [list(task.candidates)], note="a tie")
            again = client.undo(sequence)
            assert again.question == task.question
            client.pass_on(again)
            assert client.lease() == []
            with pytest.raises(FeedbackError, match="wanted admin"):
                client.add_questions([ask(1)])


def test_a_client_without_a_server_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    waits: list[float] = []
    from backflip.studio.wire import Wire

    wire = Wire(f"http://127.0.0.1:{port}", "x", tries=4, sleep=waits.append)
    with pytest.raises(FeedbackError, match=f"the studio at http://127.0.0.1:{port} did not answer .*refused"):
        wire.ask("GET", "/api/me")
    assert waits == [0.1, 0.2, 0.4]
    with pytest.raises(ConfigError, match="address is 'localhost:1'"):
        Wire("localhost:1", "x")
