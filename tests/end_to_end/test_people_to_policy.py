"""What people rank in the studio trains a reward model and a policy, by one command more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from transformers import AutoModelForCausalLM

from backflip.cli import main
from backflip.demo.contents import fill_store
from backflip.demo.task import SOURCE
from backflip.feedback.store import Store
from backflip.runs import read_run
from backflip.studio.app import create_app
from backflip.studio.client import Client
from backflip.studio.command import Config, open_store
from backflip.studio.settings import Settings

FOLDER = Path("runs/studio")
WORDS = ["demo", "--people", "--scale", "tiny", "--enough", "6"]


@contextmanager
def studio(store: Store) -> Iterator[tuple[str, str]]:
    """A running studio: its address, and a script's token."""
    app = create_app(store, Settings())
    accounts = app.state.studio.accounts
    admin = accounts.credentials.user_of_session(accounts.sign_in_locally(address=""))
    token = accounts.add_script("ann", kind="person", projects=[SOURCE], admin=admin, address="")
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", token
    server.should_exit = True
    thread.join(10)


def test_what_is_ranked_in_the_studio_trains_a_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store(Config(), fill_store) as store, studio(store) as (url, token):
        assert store.counts(SOURCE).open == 48, "a fresh studio has something to rank"
        with Client(url, token, project=SOURCE) as client:
            for _, task in zip(range(7), client.tasks(ahead=2), strict=False):
                shortest_first = sorted(task.candidates, key=lambda c: len(task.candidates[c].text or ""))
                client.answer(task, [[c] for c in shortest_first], seconds=3.0)
        assert main(WORDS) == 0

    said = capsys.readouterr().out
    assert "rankings by people in the studio" in said
    assert not (FOLDER / "round-1" / "sample").exists(), "nobody is asked about other texts than they ranked"
    asked, reward = (read_run(FOLDER / "round-1" / name) for name in ("ask", "reward"))
    assert asked is not None
    assert reward is not None
    assert asked.result["answers"] == reward.result["answers"]["answers"] == 7
    assert not asked.result["simulated"]
    policy = AutoModelForCausalLM.from_pretrained(FOLDER / "round-1" / "ppo" / "model")
    assert policy.num_parameters() > 0
