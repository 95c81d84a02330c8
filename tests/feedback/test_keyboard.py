"""Labelling at a terminal: what is typed, what is stored, and what is shown as it is."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from backflip.errors import DataError, LabellingPaused
from backflip.feedback.keyboard import Keyboard, parse_ranking
from backflip.feedback.store import Store
from backflip.records import Candidate, Labeller, Prompt, Question

ANN = Labeller("ann", "person")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Store]:
    """A store with two questions about three texts."""
    with Store.open(tmp_path / "desk.db") as opened:
        opened.add_questions(question(topic) for topic in ("rain", "snow"))
        yield opened


def question(topic: str) -> Question:
    texts = (f"{topic} is wet", f"[bold red]{topic}[/] \x1b[31mis", f"what is {topic}?")
    return Question("text", tuple(Candidate(text=text) for text in texts), Prompt.ask(f"What is {topic}?"))


def typist(*lines: str) -> Callable[[str], str]:
    """Types these lines, and then ends the input."""
    rest = iter(lines)

    def read(_: str) -> str:
        try:
            return next(rest)
        except StopIteration:
            raise EOFError from None

    return read


def keyboard(store: Store, *lines: str, out: io.StringIO | None = None) -> Keyboard:
    console = Console(file=out or io.StringIO(), width=100)
    return Keyboard(store, ANN, purpose="train", console=console, read=typist(*lines))


@pytest.mark.parametrize(
    ("typed", "tiers"),
    [
        ("bca", (("B",), ("C",), ("A",))),
        ("B, C > a", (("B",), ("C",), ("A",))),
        ("b=ca", (("B", "C"), ("A",))),
        ("b = c = a", (("B", "C", "A"),)),
        ("b (ca)", (("B",), ("C", "A"))),
        ("(b=c)a", (("B", "C"), ("A",))),
        ("bc=a", (("B",), ("C", "A"))),
    ],
)
def test_a_ranking_is_read(typed: str, tiers: tuple[tuple[str, ...], ...]) -> None:
    assert parse_ranking(typed, "ABC") == tiers


@pytest.mark.parametrize(
    ("typed", "wrong"),
    [
        ("bc", "A is missing"),
        ("", "missing"),
        ("abcd", "'D' is none of A, B, C"),
        ("abcb", "B stands twice"),
        ("a=", "not finished"),
        ("=abc", "stands first"),
        ("a(bc", "not finished"),
        ("abc)", "out of place"),
        ("a()bc", "not finished"),
        ("((ab)c)", "out of place"),
    ],
)
def test_what_is_no_ranking_is_told(typed: str, wrong: str) -> None:
    with pytest.raises(DataError, match=wrong.replace("(", r"\(").replace(")", r"\)")):
        parse_ranking(typed, "ABC")


@given(st.sampled_from(list(permutations("ABCD"))), st.lists(st.booleans(), min_size=3, max_size=3))
def test_every_ranking_can_be_typed(order: tuple[str, ...], ties: list[bool]) -> None:
    tiers = [[order[0]]]
    for letter, tied in zip(order[1:], ties, strict=True):
        if tied:
            tiers[-1].append(letter)
        else:
            tiers.append([letter])
    wanted = tuple(map(tuple, tiers))
    assert parse_ranking(" > ".join("=".join(tier) for tier in tiers), "ABCD") == wanted
    assert parse_ranking("".join(f"({''.join(tier)})" for tier in tiers).lower(), "ABCD") == wanted


def test_answers_are_stored_in_the_order_shown(desk: Store) -> None:
    out = io.StringIO()
    keyboard(desk, "bca", "b=ca", out=out).work()
    first, second = (numbered.answer for numbered in desk.answers())
    assert first.tiers == tuple((first.shown[i],) for i in (1, 2, 0))
    assert second.tiers == ((second.shown[1], second.shown[2]), (second.shown[0],))
    assert first.labeller == ANN
    assert first.seconds is not None
    assert first.source == "keyboard"
    # What a model wrote is shown as it is: no markup is read, and no control character gets through.
    assert "[bold red]rain[/]" in out.getvalue()
    assert "\x1b[31m" not in out.getvalue()
    assert "1 of 2" in out.getvalue()
    assert "2 of 2" in out.getvalue()


def test_cannot_tell_and_skip(desk: Store) -> None:
    keyboard(desk, "?", "s").work()
    (numbered,) = desk.answers()
    assert numbered.answer.cannot_tell
    assert desk.counts().wanted == 1
    assert desk.lease(ANN) is None  # what she skipped is for others
    assert desk.lease(Labeller("bob", "person")) is not None


def test_undo_takes_the_last_answer_back_without_a_trace(desk: Store) -> None:
    keyboard(desk, "abc", "u", "cba", "abc").work()
    first, second = (numbered.answer for numbered in desk.answers(include_withdrawn=True))
    assert [desk.question(a.question).prompt for a in (first, second)] == [question(t).prompt for t in ("rain", "snow")]
    assert first.tiers == tuple((c,) for c in reversed(first.shown))


def test_undo_of_a_skip_and_nothing_to_undo(desk: Store) -> None:
    out = io.StringIO()
    keyboard(desk, "u", "s", "u", "u", "abc", "abc", out=out).work()
    assert desk.counts().wanted == 0
    assert out.getvalue().count("nothing to undo") == 2


def test_a_pause_keeps_all_and_the_same_goes_on(desk: Store) -> None:
    with pytest.raises(LabellingPaused):
        keyboard(desk, "abc", "q").work()
    assert desk.counts().answers == 1
    with pytest.raises(LabellingPaused):  # the end of the input is a pause too
        keyboard(desk).work()
    keyboard(desk, "abc").work()
    assert desk.counts().wanted == 0


def test_a_typing_error_is_told_and_asked_again(desk: Store) -> None:
    out = io.StringIO()
    keyboard(desk, "abx", "abc", "abc", out=out).work()
    assert "'X' is none of A, B, C" in out.getvalue()
    assert desk.counts().answers == 2
