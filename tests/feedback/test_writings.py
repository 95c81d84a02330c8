"""Demonstrations on their way to SFT, on every database."""

from __future__ import annotations

from typing import Any

import pytest

from backflip.errors import FeedbackError
from backflip.feedback.projects import Project
from backflip.feedback.store import Store
from backflip.feedback.writings import Writings
from backflip.records import Demonstration, Labeller, Prompt

ANN, BOB = Labeller("ann", "person"), Labeller("bob", "person")
OPEN, REVIEWED = Project("p"), Project("p", review=True)
WHY = Prompt.ask("why?", user="u1")


@pytest.fixture
def writings(store: Store, store_clock: Any) -> Writings:
    return Writings(store, store_clock)


def wrote(text: str, author: Labeller = ANN, prompt: Prompt = WHY) -> Demonstration:
    return Demonstration(prompt, text, author)


def seen(store: Store) -> list[str]:
    return [demonstration.answer for demonstration in store.demonstrations(project="p")]


def test_without_review_it_counts_at_once_and_sent_twice_is_one(store: Store, writings: Writings) -> None:
    first = writings.submit(OPEN, wrote("so"), key="k")
    assert (first.number, first.state) == (1, "accepted")
    assert writings.submit(OPEN, wrote("so"), key="k") == first
    assert seen(store) == ["so"]


def test_with_review_it_counts_when_it_was_accepted(store: Store, writings: Writings) -> None:
    number = writings.submit(REVIEWED, wrote("so"), key="k").number
    assert seen(store) == []
    returned = writings.review(REVIEWED, number, "returned", reviewer="boss", note="say more")
    assert (returned.state, returned.note, returned.reviewer, seen(store)) == ("returned", "say more", "boss", [])
    assert writings.edit(REVIEWED, number, wrote("so it is")).state == "submitted"
    writings.review(REVIEWED, number, "accepted", reviewer="boss")
    assert seen(store) == ["so it is"]
    writings.review(REVIEWED, number, "returned", reviewer="boss")
    assert seen(store) == []


def test_what_is_edited_or_withdrawn_counts_no_more(store: Store, writings: Writings) -> None:
    number = writings.submit(OPEN, wrote("so"), key="k").number
    writings.edit(OPEN, number, wrote("better"))
    assert seen(store) == ["better"]
    writings.edit(OPEN, number, wrote("so"))  # and back again
    assert seen(store) == ["so"]
    writings.withdraw(OPEN, number, "ann")
    assert seen(store) == []
    with pytest.raises(FeedbackError, match="no writing 1 here"):
        writings.edit(OPEN, number, wrote("again"))


def test_the_same_words_of_two_people_go_with_the_last_of_them(store: Store, writings: Writings) -> None:
    first = writings.submit(OPEN, wrote("so"), key="k").number
    second = writings.submit(OPEN, wrote("so", BOB), key="k").number
    writings.withdraw(OPEN, first, "ann")
    assert seen(store) == ["so"]
    writings.withdraw(OPEN, second, "bob")
    assert seen(store) == []


def test_only_the_own_one_and_to_the_same_prompt(writings: Writings) -> None:
    number = writings.submit(OPEN, wrote("so"), key="k").number
    with pytest.raises(FeedbackError, match="'bob' has no writing 1 here"):
        writings.edit(OPEN, number, wrote("mine", BOB))
    with pytest.raises(FeedbackError, match="'ann' has no writing 1 here"):
        writings.withdraw(Project("other"), number, "ann")
    with pytest.raises(FeedbackError, match="is to another prompt"):
        writings.edit(OPEN, number, wrote("so", prompt=Prompt.ask("when?")))
    with pytest.raises(FeedbackError, match="no writing 7"):
        writings.review(OPEN, 7, "accepted", reviewer="boss")


def test_the_next_prompt_is_one_that_nobody_wrote_to(store: Store, writings: Writings) -> None:
    prompts = [Prompt.ask(f"prompt {i}", user=f"u{i}") for i in range(3)]
    store.add_prompts(prompts, name="p")
    store.add_prompts([Prompt.ask("of the test split")], name="p", split="test")
    left = {prompt.id for prompt in prompts}
    while left:
        prompt = writings.next_prompt(OPEN, "ann")
        assert prompt is not None
        assert prompt == writings.next_prompt(OPEN, "ann")
        assert writings.known_prompt(OPEN, Prompt(prompt.messages)) == prompt
        assert len(left) == 1 or writings.next_prompt(OPEN, "ann", skip=[prompt.id]) not in (None, prompt)
        writings.submit(OPEN, wrote("so", prompt=prompt), key=prompt.id)
        left.remove(prompt.id)
    assert writings.next_prompt(OPEN, "ann") is None
    writings.withdraw(OPEN, 1, "ann")
    assert writings.next_prompt(OPEN, "bob") is not None


def test_the_list_is_newest_first(writings: Writings) -> None:
    for i, author in enumerate((ANN, BOB, ANN)):
        writings.submit(REVIEWED, wrote(f"{i}", author), key=f"{i}")
    writings.review(REVIEWED, 1, "accepted", reviewer="boss")
    assert [w.number for w in writings.all(OPEN)] == [3, 2, 1]
    assert [w.number for w in writings.all(OPEN, author="ann", state="submitted")] == [3]
    assert writings.all(Project("other")) == []
