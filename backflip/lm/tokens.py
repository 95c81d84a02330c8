"""From prompts and answers to token ids and back. What a model sampled is never re-tokenised for that model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backflip.errors import DataError, ModelError
from backflip.lm import backbone
from backflip.records import Message, Prompt

__all__ = ["Tokens"]


class Tokens:
    """A tokenizer with what every stage needs of it: a chat template, an EOS, and a pad that is not the EOS."""

    def __init__(self, tokenizer: Any, *, name: str = "tokenizer") -> None:
        self.tokenizer, self.name = tokenizer, name
        if tokenizer.eos_token_id is None:
            raise ModelError(f"{name} has no EOS token: answers could not end. Set eos_token in tokenizer_config.json")
        if tokenizer.pad_token_id is None:
            raise ModelError(f"{name} has no pad token; set pad_token to a token that text does not use (not the EOS)")
        if tokenizer.pad_token_id == tokenizer.eos_token_id:
            raise ModelError(
                f"{name} pads with its EOS (id {tokenizer.eos_token_id}), so an answer's end and padding look alike; "
                "set pad_token in tokenizer_config.json and pad_token_id in config.json to another token"
            )

    @classmethod
    def load(cls, folder: str | Path) -> Tokens:
        """Raises ModelError where there is no tokenizer, no EOS, or no pad of its own."""
        return cls(backbone.load_tokenizer(folder), name=f"the tokenizer of {str(folder)!r}")

    @property
    def eos(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def pad(self) -> int:
        return int(self.tokenizer.pad_token_id)

    def prompt(self, prompt: Prompt) -> tuple[int, ...]:
        """A dialogue through the chat template, up to where the answer starts; plain text as it is.

        Raises ModelError for a dialogue where the tokenizer has no chat template.
        """
        if prompt.text is not None:
            return self.text(prompt.text)
        return self.dialogue(prompt.messages)

    def dialogue(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Turns through the chat template, whoever has the last, up to where the model's answer starts.

        Raises ModelError where the tokenizer has no chat template.
        """
        if not self.tokenizer.chat_template:
            raise ModelError(
                f"{self.name} has no chat template, and a prompt is a dialogue; use an instruction-"
                "tuned model, set chat_template in its tokenizer_config.json, or give prompts as plain text"
            )
        turns = [{"role": m.role, "content": m.content} for m in messages]
        return self.text(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    def opening(self, prompt: Prompt) -> tuple[int, ...]:
        """`prompt`, for a model that is to go on from its last token. DataError where it has none."""
        ids = self.prompt(prompt)
        if not ids:
            raise DataError(
                f"prompt {prompt.id[:12]} has no tokens; wanted some text to go on from: drop it from the set"
            )
        return ids

    def text(self, text: str) -> tuple[int, ...]:
        """Plain text, no special tokens added; the template writes its own."""
        ids = self.tokenizer(text, add_special_tokens=False).input_ids
        return tuple(ids)

    def answer(self, text: str, *, ended: bool = True) -> tuple[int, ...]:
        """An answer as the model would write it: its tokens and, if it ended by itself, the EOS."""
        ids = self.text(text)
        if not ids and not ended:
            raise DataError("an answer without tokens and without an end has nothing to score; drop it before")
        return (*ids, self.eos) if ended else ids

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of an answer, without its EOS and surrounding white space."""
        return self.raw(tokens).strip()

    def raw(self, tokens: Sequence[int]) -> str:
        """The same with its white space; half a character at the end is U+FFFD."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))
