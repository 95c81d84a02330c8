"""A talk in the terminal: through a pipe, blocked, stopped, begun anew."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backflip.chat.model import ChatModel, Sampling
from backflip.chat.terminal import Config, Talk, run
from backflip.lm.engine import EngineConfig
from backflip.records import Message
from backflip.safety.rules import WordList


@pytest.fixture(scope="module")
def model(chat_folder: Path) -> Iterator[ChatModel]:
    model = ChatModel.load("tiny", chat_folder, EngineConfig(rows=1, context=300))
    yield model
    model.engine.close()


class Pages(io.StringIO):
    """Output at which somebody presses Ctrl-C as soon as there is some."""

    def write(self, text: str) -> int:
        if text.strip():
            raise KeyboardInterrupt
        return super().write(text)


def hold(talk: Talk, lines: list[str], out: io.StringIO | None = None) -> tuple[str, str]:
    out, notices, left = out or io.StringIO(), io.StringIO(), iter(lines)
    talk.hold(lambda: next(left, None), out, notices)
    return out.getvalue(), notices.getvalue()


def test_turns_are_remembered_until_a_new_talk(model: ChatModel) -> None:
    talk = Talk(model, Sampling(8, seed=1), system="Be kind.")
    out, notices = hold(talk, ["hello\n", "\n", "and now\n"])
    assert [message.role for message in talk.said] == ["user", "assistant"] * 2
    assert out == f"{talk.said[1].content}\n{talk.said[3].content}\n"
    assert "system" not in notices
    hold(talk, ["/new\n", "/quit\n", "not heard\n"])
    assert talk.said == []


def test_what_is_blocked_is_not_part_of_the_talk(model: ChatModel) -> None:
    talk = Talk(model, Sampling(8, seed=1), WordList({"bad": ["forbidden"]}))
    out, notices = hold(talk, ["forbidden\n"])
    assert (out, notices, talk.said) == ("", "(your message is blocked: word list: bad)\n", [])


def test_older_turns_are_left_out_with_notice(model: ChatModel) -> None:
    talk = Talk(model, Sampling(8, seed=1), said=[Message("user", "q " * 100), Message("assistant", "a " * 100)])
    assert "(the oldest 2 turns do not fit and are left out)" in hold(talk, ["hello\n"])[1]
    assert "shorten it" in hold(talk, ["x " * 300])[1]


def test_ctrl_c_stops_the_answer_and_then_the_talk(model: ChatModel) -> None:
    talk = Talk(model, Sampling(200, seed=1))
    assert "(stopped)" in hold(talk, ["hello\n"], Pages())[1]

    def pressed() -> str | None:
        raise KeyboardInterrupt

    talk.hold(pressed, io.StringIO(), io.StringIO())


def test_through_a_pipe(chat_folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "backflip",
        "chat",
        "--model",
        str(chat_folder),
        "--max-tokens",
        "8",
        "--seed",
        "1",
    ]
    done = subprocess.run(
        command, input="hello\n/new\nhello\n", capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "(a new talk)" in done.stderr
    assert "Traceback" not in done.stderr
    first, second = done.stdout.splitlines()[:2]
    assert first == second


def test_an_empty_pipe_is_told(
    chat_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    run(Config(str(chat_folder)))
    assert capsys.readouterr() == ("", "(nothing was said; give lines at the prompt or through a pipe)\n")
