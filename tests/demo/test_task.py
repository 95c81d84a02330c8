"""The demo's data is what it says: sound demonstrations, disjoint topics, and prompts whose topic can be read back."""

import json
from collections import Counter
from importlib.resources import files
from typing import Any

import pytest

from backflip.demo.task import (
    BEST_EXAMPLES,
    MAKERS,
    PHRASINGS,
    SOURCE,
    best_prompted,
    demonstrations,
    prompts,
    topic_of,
)
from backflip.errors import DataError
from backflip.lm.judge import content_stems, stem, whole_sentences
from backflip.records import Prompt


def rows(name: str) -> list[dict[str, Any]]:
    text = files("backflip.demo").joinpath(name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_sizes_and_records() -> None:
    assert len(demonstrations()) == len(rows("demonstrations.jsonl")) >= 300
    assert len(prompts("train")) >= 260
    assert (len(prompts("validation")), len(prompts("test"))) == (48, 100)
    assert all(d.author == MAKERS and d.author.kind == "maker" for d in demonstrations())
    assert {d.source for d in demonstrations()} | {p.source for p in prompts("train")} == {SOURCE}


def test_no_topic_stands_twice() -> None:
    # "the wind" and "winds" would be one topic, "rules" and "rulers" are two: compare content words without their s.
    def key(topic: str) -> frozenset[str]:
        words = topic.lower().split()
        return frozenset(word.rstrip("s") for word in words if content_stems(word)) or frozenset(words)

    topics = [row["topic"] for row in rows("demonstrations.jsonl") + rows("prompts.jsonl")]
    twice = [keys for keys, n in Counter(map(key, topics)).items() if n > 1]
    assert not twice


def test_every_demonstration_is_two_to_four_whole_sentences_of_25_to_55_words_about_its_topic() -> None:
    for row in rows("demonstrations.jsonl"):
        pieces, whole = whole_sentences(row["answer"])
        assert pieces == whole, row
        assert 2 <= whole <= 4, row
        assert 25 <= len(row["answer"].split()) <= 55, row
        named = content_stems(row["topic"]) & {stem(word.strip(".,!?'").lower()) for word in row["answer"].split()}
        assert named, row
        assert row["answer"].isascii(), row


def test_answers_do_not_follow_one_formula() -> None:
    openings = Counter(" ".join(d.answer.split()[:2]) for d in demonstrations())
    assert openings.most_common(1)[0][1] <= 0.05 * len(demonstrations())
    assert len({d.answer for d in demonstrations()}) == len(demonstrations())


def test_every_topic_is_read_back_from_its_prompt() -> None:
    for row in rows("demonstrations.jsonl") + rows("prompts.jsonl"):
        assert topic_of(Prompt.ask(row["prompt"])) == row["topic"]


def test_every_split_has_every_phrasing() -> None:
    for split in ("train", "validation", "test"):
        texts = [p.messages[-1].content for p in prompts(split)]
        used = {p for p in PHRASINGS for text in texts if text.startswith(p.split("{}")[0])}
        assert len(used) >= len(PHRASINGS) - 2, split  # a small split may lack a rare question form


def test_the_moon_landing_is_held_out() -> None:
    wanted = "Explain the moon landing to a six-year-old in a few sentences."
    assert wanted in {p.messages[-1].content for p in prompts("test")}


def test_topic_of_refuses_another_question() -> None:
    with pytest.raises(DataError, match="word it like"):
        topic_of(Prompt.ask("What is rain?"))


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(DataError, match="train, validation, test"):
        prompts("dev")  # type: ignore[arg-type]


def test_best_prompted_shows_the_examples_and_then_asks_the_same() -> None:
    prompt = prompts("test")[0]
    best = best_prompted(prompt)
    assert [m.role for m in best.messages] == ["user", "assistant"] * len(BEST_EXAMPLES) + ["user"]
    assert tuple(topic_of(Prompt(messages=(m,))) for m in best.messages[:-1:2]) == BEST_EXAMPLES
    assert best.messages[-1] == prompt.messages[-1]
    assert topic_of(best) == topic_of(prompt)
