"""A dialogue that is too long loses its oldest turns, whole ones, and says how many."""

import pytest

from backflip.chat.dialogue import fit
from backflip.errors import DataError
from backflip.lm.tokens import Tokens
from backflip.records import Message

TALK = [
    Message("system", "Be kind."),
    Message("user", "one " * 20),
    Message("assistant", "two " * 20),
    Message("user", "three " * 20),
    Message("assistant", "four " * 20),
    Message("user", "five"),
]


def test_turns_are_left_out_from_the_oldest(chat_tokens: Tokens) -> None:
    whole = fit(chat_tokens, TALK, context=100_000, room=10)
    assert whole == (chat_tokens.dialogue(TALK), 0)
    cut = fit(chat_tokens, TALK, context=len(whole.prompt) + 9, room=10)
    assert cut.left_out == 2
    assert cut.prompt == chat_tokens.dialogue([TALK[0], *TALK[3:]])
    least = len(chat_tokens.dialogue([TALK[0], TALK[5]]))
    assert fit(chat_tokens, TALK, context=least + 10, room=10).left_out == 4
    with pytest.raises(DataError, match=f"is {least} tokens.*leave {least - 1}; shorten it"):
        fit(chat_tokens, TALK, context=least + 9, room=10)


@pytest.mark.parametrize(
    ("talk", "error"),
    [
        ([], "ends with nobody"),
        (TALK[:3], "ends with assistant"),
        ([TALK[1], TALK[0], TALK[5]], "system message stands among"),
    ],
)
def test_what_is_no_dialogue_is_refused(chat_tokens: Tokens, talk: list[Message], error: str) -> None:
    with pytest.raises(DataError, match=error):
        fit(chat_tokens, talk, context=1000, room=10)
