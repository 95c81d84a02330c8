"""A dialogue as a prompt: what does not fit is cut by whole turns, the oldest first, and whoever asks is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from backflip.errors import DataError
from backflip.lm.tokens import Tokens
from backflip.records import Message

__all__ = ["Fitted", "check_dialogue", "fit"]


class Fitted(NamedTuple):
    """The prompt (token ids), and how many of the oldest turns it leaves out."""

    prompt: tuple[int, ...]
    left_out: int


def check_dialogue(messages: Sequence[Message]) -> None:
    """Raises DataError unless system messages come first, and the last turn is the user's."""
    roles = [message.role for message in messages]
    if not roles or roles[-1] != "user":
        last = roles[-1] if roles else "nobody"
        raise DataError(f"the dialogue ends with {last}; wanted a message of the user's at its end")
    spoken = [role for role in roles if role != "system"]
    if roles[len(roles) - len(spoken) :] != spoken:
        raise DataError("a system message stands among the turns; wanted all of them at the beginning")


def fit(tokens: Tokens, messages: Sequence[Message], *, context: int, room: int) -> Fitted:
    """The dialogue through the chat template, in at most `context - room` tokens: `room` is kept for the answer.

    System messages and the last turn always stay. A reply never stands without the turn that it answers. Raises
    DataError where what must stay does not fit, ModelError where there is no chat template.
    """
    check_dialogue(messages)
    opening = [message for message in messages if message.role == "system"]
    turns = list(messages[len(opening) :])
    for first in _beginnings(turns):
        prompt = tokens.dialogue([*opening, *turns[first:]])
        if len(prompt) <= context - room:
            return Fitted(prompt, first)
    raise DataError(
        f"the last message is {len(prompt)} tokens with what must stand before it, and {context} tokens of context "
        f"less {room} for the answer leave {max(context - room, 0)}; shorten it, or ask for a shorter answer"
    )


def _beginnings(turns: Sequence[Message]) -> list[int]:
    """Where a cut dialogue may begin: at its beginning, or with a turn of the user's."""
    return [0, *(i for i, turn in enumerate(turns) if i and turn.role == "user")]
