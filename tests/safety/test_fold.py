"""However a word is spelled, one of its readings is the word; and an honest text is not bent into another."""

import pytest

from backflip.safety.fold import fold, views


@pytest.mark.parametrize(
    "spelled",
    [
        "forbidden",
        "FORBIDDEN",
        "ｆｏｒｂｉｄｄｅｎ",
        "for\u200bbid\u00adden",
        "f0rb1dd3n",
        "f o r b i d d e n",
        "f.o.r.b.i.d.d.e.n",
        "for.bid.den",
        "fоrbiddеn",  # two Cyrillic letters
        "𝐟𝐨𝐫𝐛𝐢𝐝𝐝𝐞𝐧",
        "fórbíddén",
        "f̷o̷r̷b̷i̷d̷d̷e̷n̷",
        "forbiddennnnn",
    ],
)
def test_the_word_is_among_its_readings(spelled: str) -> None:
    assert "forbidden" in views(spelled)
    assert any("so forbidden, yes" in view for view in views(f"so {spelled}, yes"))


@pytest.mark.parametrize(
    "text", ["It costs $5, or 10% of 300.", "Привет, мир", "नमस्ते दुनिया", "你好，世界", "a big cat"]
)
def test_an_honest_text_stays(text: str) -> None:
    assert fold(text) == text.casefold().replace("，", ",")  # NFKC has one comma
    assert len(views(text)) == 1


def test_digits_are_letters_only_beside_letters() -> None:
    assert views("call 911 k1ds") == ("call 911 k1ds", "call 911 kids", "call 911 klds")
