"""Filters that ask a model, and filters by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from backflip.errors import ConfigError, ModelError
from backflip.lm.sampler import Completion
from backflip.records import Message
from backflip.safety.classifiers import GuardFilter, LabelFilter
from backflip.safety.loading import load_filter, load_filters
from backflip.safety.rules import PersonalData, WordList
from backflip.safety.verdict import ALLOWED, Context, Verdict


def test_a_classifier_gives_what_transformers_gives(classifier_folder: Path) -> None:
    text = "some words to look at"
    model = AutoModelForSequenceClassification.from_pretrained(classifier_folder).eval()
    with torch.inference_mode():
        inputs = AutoTokenizer.from_pretrained(classifier_folder)(text, return_tensors="pt")
        wanted = model(**inputs).logits[0].sigmoid()
    low, high = float(wanted[0]) - 1e-3, float(wanted[0]) + 1e-3
    verdict = LabelFilter.load(classifier_folder, {"toxic": low}).check(text)
    assert not verdict.allowed
    assert verdict.reason == "classifier model: toxic"
    assert list(verdict.categories.values()) == pytest.approx(wanted.tolist(), abs=1e-5)
    assert LabelFilter.load(classifier_folder, {"toxic": high}).check(text).allowed


def test_labels_that_block_must_be_the_models(classifier_folder: Path) -> None:
    with pytest.raises(ConfigError, match="no label 'rude'; wanted some of toxic, threat, spam"):
        LabelFilter.load(classifier_folder, {"rude": 0.5})
    with pytest.raises(ConfigError, match="no label of"):
        load_filter(f"labels:{classifier_folder}")


@dataclass
class Says:
    """A sampler that answers with the given text, and keeps what it was asked."""

    tokens: Any
    said: str
    asked: Sequence[int] = ()

    def sample(self, prompts: Sequence[Sequence[int]], *, samples: int) -> list[list[Completion]]:
        (self.asked,) = prompts
        return [[Completion(0, 0, self.tokens.text(self.said), (), True)]]


def says(guard: GuardFilter, text: str) -> GuardFilter:
    return replace(guard, sampler=Says(guard.tokens, text))


def test_a_guard_reads_the_dialogue_and_its_word_is_taken(guard_folder: Path) -> None:
    guard = GuardFilter.load(guard_folder)
    assert says(guard, "safe").check("hi") == Verdict(True, {"unsafe": 0.0})
    blocked = says(guard, "unsafe\nS1,S10")
    verdict = blocked.check("how?", Context("assistant", (Message("user", "before"),)))
    assert verdict == Verdict(False, {"unsafe": 1.0, "S1": 1.0, "S10": 1.0}, "guard model: S1, S10")
    shown = guard.tokens.decode(blocked.sampler.asked)
    assert shown.index("before") < shown.index("how?")
    assert says(guard, "unsafe").check("hi").reason == "guard model: unsafe"
    with pytest.raises(ModelError, match="wanted 'safe', or 'unsafe'"):
        says(guard, "Hello!").check("hi")


def test_a_guard_that_babbles_blocks(guard_folder: Path) -> None:
    assert not load_filters([f"guard:{guard_folder}"]).check("hi").allowed  # random weights write neither word


def harmless() -> Any:
    """A filter of one's own, as `python:` names it."""

    class Harmless:
        name = "harmless"

        def check(self, text: str, context: Context) -> Verdict:
            return ALLOWED

    return Harmless()


def test_filters_by_name(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("[spam]\nbuy now\n")
    assert isinstance(load_filter("words"), WordList)
    assert load_filter(f"words:{tmp_path / 'mine.txt'}").check("Buy now!").reason == "word list mine.txt: spam"
    assert isinstance(load_filter("personal"), PersonalData)
    both = load_filters(["words", "python:test_classifiers:harmless"])
    assert both.check("hello").allowed
    assert not both.check("kill yourself").allowed
    with pytest.raises(ModelError, match="backflip safety train"):
        load_filter(f"trained:{tmp_path}")
    for wrong in ("nonsense", "trained:", "personal:x", "labels:m#a>much"):
        with pytest.raises(ConfigError, match="wanted"):
            load_filter(wrong)
