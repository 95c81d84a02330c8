"""Filters compose, and fail closed."""

from dataclasses import dataclass

import pytest

from backflip.errors import ConfigError
from backflip.safety.verdict import ALLOWED, FAILED, AllOf, Context, Verdict

HERE = Context()


@dataclass(frozen=True)
class Word:
    word: str
    score: float = 1.0
    name: str = "word"

    def check(self, text: str, context: Context = HERE) -> Verdict:
        if self.word in text:
            return Verdict(False, {"word": self.score}, f"{self.name}: {self.word}")
        return Verdict(True, {"word": 0.0, context.role: 0.5})


@dataclass(frozen=True)
class Broken:
    name: str = "broken one"

    def check(self, text: str, context: Context = HERE) -> Verdict:
        raise ZeroDivisionError


def test_all_must_allow_and_scores_are_the_highest() -> None:
    both = AllOf((Word("a", 0.3), Word("b", 0.7)))
    assert both.check("c") == Verdict(True, {"word": 0.0, "user": 0.5})
    assert both.check("ab") == Verdict(False, {"word": 0.7}, "word: a; word: b")
    assert both.check("a", Context("assistant")).categories == {"word": 0.3, "assistant": 0.5}


def test_a_filter_that_fails_blocks_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    verdict = AllOf((Word("a"), Broken())).check("harmless")
    assert not verdict.allowed
    assert verdict.categories[FAILED] == 1.0
    assert "broken one failed" in verdict.reason
    assert "ZeroDivisionError" in caplog.text


def test_no_filter_is_no_safety() -> None:
    with pytest.raises(ConfigError, match="would allow everything"):
        AllOf(())


def test_a_verdict_blocks_with_a_reason_and_allows_without() -> None:
    assert ALLOWED.allowed
    for allowed, reason in ((False, ""), (True, "why")):
        with pytest.raises(ConfigError, match="wanted a reason"):
            Verdict(allowed, {}, reason)
