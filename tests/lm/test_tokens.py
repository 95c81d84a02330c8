"""Text to tokens and back, and what a tokenizer must have."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backflip.errors import DataError, ModelError
from backflip.lm.backbone import load_tokenizer
from backflip.lm.tokens import Tokens
from backflip.records import Message, Prompt


@pytest.fixture(scope="module")
def tokens(tiny_folder: Path) -> Tokens:
    return Tokens.load(tiny_folder)


def test_a_dialogue_goes_through_the_template_up_to_the_answer(tokens: Tokens) -> None:
    turns = (Message("user", "Hello"), Message("assistant", "Yes?"), Message("user", "Why?"))
    ids = tokens.prompt(Prompt(messages=turns))
    wanted = (
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokens.tokenizer.decode(list(ids)) == wanted
    assert ids.count(tokens.eos) == 3


def test_plain_text_needs_no_template(tokens: Tokens) -> None:
    assert tokens.prompt(Prompt(text="The moon")) == tokens.text("The moon")


def test_an_opening_has_a_token(tokens: Tokens) -> None:
    assert tokens.opening(Prompt(text="The moon")) == tokens.text("The moon")
    with pytest.raises(DataError, match="no tokens"):
        tokens.opening(Prompt(text=""))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="<|>\x00"), max_size=40))
def test_decode_gives_the_answer_back(tokens: Tokens, text: str) -> None:
    assert tokens.decode(tokens.answer(text)) == text.strip()


def test_an_answer_ends_with_eos_where_it_ended(tokens: Tokens) -> None:
    assert tokens.answer("Rain.") == (*tokens.text("Rain."), tokens.eos)
    assert tokens.answer("Rain.", ended=False) == tokens.text("Rain.")
    assert tokens.answer("") == (tokens.eos,)
    with pytest.raises(DataError, match="nothing to score"):
        tokens.answer("", ended=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eos_token": None}, "no EOS token"),
        ({"pad_token": None}, "no pad token"),
        ({"pad_token": "<|im_end|>"}, "pads with its EOS"),
    ],
)
def test_a_tokenizer_that_will_not_do(tiny_folder: Path, change: dict[str, str | None], message: str) -> None:
    tokenizer = load_tokenizer(tiny_folder)
    for name, value in change.items():
        setattr(tokenizer, name, value)
    with pytest.raises(ModelError, match=message):
        Tokens(tokenizer)


def test_a_dialogue_without_a_template(tiny_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_folder)
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        Tokens(tokenizer).prompt(Prompt.ask("Why?"))


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no folder"):
        Tokens.load(tmp_path / "nothing")
