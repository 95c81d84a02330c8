"""What is shown of a reply, and when: nothing blocked, nothing torn, nothing behind a stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backflip.chat.reply import HELD, Finish, Reply, Shown
from backflip.lm.tokens import Tokens
from backflip.safety.rules import WordList
from backflip.safety.verdict import AllOf, Context, Verdict

LIST = WordList({"bad": ["forbidden fruit"]})


class Letters:
    """A tokenizer of one character a token."""

    eos_token_id, pad_token_id = 0, 1

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return "".join(map(chr, ids))


def reply(**options: object) -> Reply:
    return Reply(Tokens(Letters()), **options)  # type: ignore[arg-type]


def said(one: Reply, text: str, why: str = "stop") -> tuple[list[str], Finish]:
    """Each piece that is shown, and the end, of a reply that writes `text`."""
    events = [event for character in text for event in one.push(ord(character), None)]
    events += one.push(None, why)  # type: ignore[arg-type]
    finish = events.pop()
    assert isinstance(finish, Finish)
    assert all(isinstance(event, Shown) for event in events)
    assert one.push(ord("x"), None) == []
    return [event.text for event in events if isinstance(event, Shown)], finish


def test_without_a_filter_all_is_shown_at_once() -> None:
    pieces, finish = said(reply(), "  abc")
    assert pieces == ["a", "b", "c"]  # white space at the beginning is the template's, not the answer's
    assert finish == Finish("stop", 5)


def test_with_a_filter_the_window_is_held_back_and_nothing_is_lost() -> None:
    text = "A long and harmless answer. " * 12
    one = reply(filter=LIST)
    for i, character in enumerate(text):
        one.push(ord(character), None)
        assert len(one.text) <= max(0, i + 1 - HELD)
    assert len(one.text) > len(text) - HELD - 30
    one.push(None, "length")
    assert one.text == text


@pytest.mark.parametrize("before", [0, 5, 47, 48, 49, 100, 333])
def test_nothing_of_what_is_blocked_is_shown(before: int) -> None:
    one = reply(filter=LIST)
    pieces, finish = said(one, "x" * before + " forbidden fruit and more")
    assert finish.reason == "content_filter"
    assert finish.verdict is not None
    assert finish.verdict.reason == "word list: bad"
    assert "forbidden" not in "".join(pieces)
    assert "forbidden fruit" in one.written


def test_a_filter_that_fails_shows_nothing() -> None:
    @dataclass
    class Broken:
        name: str = "broken"

        def check(self, text: str, context: Context = Context("assistant")) -> Verdict:  # noqa: B008
            raise ZeroDivisionError

    pieces, finish = said(reply(filter=AllOf((Broken(),))), "hello there " * 20)
    assert (pieces, finish.reason) == ([], "content_filter")


def test_what_is_cancelled_is_not_shown_to_its_end() -> None:
    pieces, finish = said(reply(filter=LIST), "short", "cancelled")
    assert (pieces, finish) == ([], Finish("cancelled", 5))


def test_a_stop_ends_it_and_is_not_shown() -> None:
    pieces, finish = said(reply(stop=("END", "\n\n")), "one\ntwo EN END three")
    assert "".join(pieces) == "one\ntwo EN "
    assert finish == Finish("stop", 14)


def test_half_a_character_waits_for_the_other_half(chat_tokens: Tokens) -> None:
    ids = chat_tokens.text("héé 你好")
    one = Reply(chat_tokens)
    pieces = [event.text for i in ids for event in one.push(i, None) if isinstance(event, Shown)]
    assert "".join(pieces) == "héé 你好"
    assert not any("\ufffd" in piece for piece in pieces)


@given(st.text(st.sampled_from("ab ForbiddenFruit*.\u200b"), max_size=200), st.sampled_from(["stop", "length"]))
def test_what_is_shown_is_what_a_look_at_the_whole_allows(text: str, why: str) -> None:
    one = reply(filter=LIST)
    pieces, finish = said(one, text, why)
    if finish.reason == "content_filter":
        assert not LIST.check(one.written).allowed
    else:
        assert LIST.check(text.lstrip()).allowed
        assert "".join(pieces) == text.lstrip()
    assert LIST.check("".join(pieces)).allowed
