"""Word lists match whole words however they are spelled, and nothing inside innocent ones."""

from pathlib import Path

import pytest

from backflip.errors import ConfigError, DataError
from backflip.safety.rules import PersonalData, WordList, default_words, read_words

LIST = WordList({"bad": ["ass", "free money", "slur*"], "坏": ["自杀"]})


@pytest.mark.parametrize(
    ("text", "blocked"),
    [
        ("you ass", True),
        ("YOU @$$!", True),
        ("classic assessment in Scunthorpe", False),
        ("free   money", True),
        ("f r e e m o n e y", True),
        ("free the money", False),
        ("slurring slurs", True),
        ("blurs", False),
        ("他想自杀", True),
        ("他想自 杀", True),
        ("他想自\u200b杀", True),
        ("这部电影各自杀青", False),  # the characters stand side by side, in two words
        ("", False),
    ],
)
def test_whole_words_alone(text: str, blocked: bool) -> None:
    verdict = LIST.check(text)
    assert verdict.allowed is not blocked
    assert set(verdict.categories) == {"bad", "坏"}
    assert bool(verdict.reason) is blocked
    assert "ass" not in verdict.reason  # what was blocked is not repeated


def test_what_is_allowed_never_counts() -> None:
    assert WordList({"bad": ["cock"]}, allow=["cock robin"]).check("Who killed Cock Robin?").allowed
    assert not WordList({"bad": ["cock"]}, allow=["cock robin"]).check("Cock Robin, cock").allowed


def test_the_lists_that_ship_are_read_and_short() -> None:
    words = default_words()
    assert {"sexual", "sexual/minors", "hate", "harassment", "violence", "self-harm"} == set(words.terms)
    assert words.check("Explain the moon to a six-year-old in a few sentences.").allowed
    assert words.check("月亮为什么会发光？").allowed
    assert not words.check("k1ll y0urs3lf").allowed
    assert not words.check("我不想活了").allowed


def test_a_list_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("# ours\n[spam]\nbuy now  # loud\n\n[other]\nzzz*\n")
    assert read_words(path).terms == {"spam": ["buy now"], "other": ["zzz*"]}
    path.write_text("buy now\n")
    with pytest.raises(DataError, match=r"line 1: a term stands before any \[category\]"):
        read_words(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_words(tmp_path / "none.txt")
    with pytest.raises(ConfigError, match="has no term"):
        WordList({"bad": []})


def test_personal_data_is_blocked_by_kind() -> None:
    assert not PersonalData().check("mail ann@example.org").allowed
    assert PersonalData().check("mail ann@example.org").reason == "personal data: email"
    assert PersonalData(kinds=("card",)).check("mail ann@example.org").allowed
    with pytest.raises(ConfigError, match="'shoe size' is not known"):
        PersonalData(kinds=("shoe size",))
