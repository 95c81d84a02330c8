"""Models that one can talk with, by name: each with its tokenizer and an engine of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from backflip.chat.dialogue import Fitted, fit
from backflip.errors import ConfigError
from backflip.lm.engine import Engine, EngineConfig, Listener, Request
from backflip.lm.heads import Causal
from backflip.lm.hub import fetch_model
from backflip.lm.tokens import Tokens
from backflip.records import Message

__all__ = ["ChatModel", "ChatModels", "Sampling", "local_folder"]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def local_folder(model: str) -> str:
    """A folder as it is; a hub id's folder, fetched where it is not here yet. Raises ModelError where it cannot be."""
    if Path(model).is_dir() or not _HUB_ID.fullmatch(model):
        return model
    return str(fetch_model(model).folder)


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn."""

    max_tokens: int = 256
    temperature: float = 0.7
    seed: int | None = None


@dataclass(frozen=True)
class ChatModel:
    """One model and whoever talks with it."""

    name: str
    tokens: Tokens
    engine: Engine

    @classmethod
    def load(cls, name: str, folder: str | Path, config: EngineConfig, *, device: str = "cpu") -> ChatModel:
        """Raises ModelError where the folder is not a causal model with a tokenizer."""
        model = Causal.load(folder, device=device).eval()
        return cls(name, Tokens(model.tokenizer, name=f"the tokenizer of {name}"), Engine(model, config))

    def fit(self, messages: Sequence[Message], sampling: Sampling) -> Fitted:
        """The dialogue as a prompt that leaves room for the answer. Raises as `backflip.chat.dialogue.fit`."""
        context = self.engine.config.context
        return fit(self.tokens, messages, context=context, room=min(sampling.max_tokens, context // 2))

    def ask(self, prompt: Sequence[int], listener: Listener, sampling: Sampling) -> Request:
        """Begins an answer. Raises ModelError where the engine takes no more."""
        return self.engine.submit(
            prompt,
            listener,
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            seed=sampling.seed,
        )


class ChatModels(Mapping[str, ChatModel]):
    """All models of a server, in the order given; the first is the default. A context manager: it closes them."""

    def __init__(self, models: Sequence[ChatModel]) -> None:
        self._models = {model.name: model for model in models}
        if not models or len(self._models) < len(models):
            names = [model.name for model in models]
            raise ConfigError(f"the models are {names}; wanted one or more, each with a name of its own")

    @classmethod
    def load(
        cls,
        specs: Sequence[str],
        config: EngineConfig | None = None,
        *,
        device: str = "cpu",
        resolve: Callable[[str], str] | None = None,
    ) -> ChatModels:
        """From `NAME=MODEL` or `MODEL`, a folder or a hub id, whose name is its last part; `resolve` finds the folder.

        Raises ConfigError at names that are not each its own, ModelError where a folder holds no model.
        """
        parts = [spec.split("=", 1) if "=" in spec else [Path(spec).name, spec] for spec in specs]
        if len({name for name, _ in parts}) < len(parts) or not parts:  # before anything is loaded
            raise ConfigError(f"the models are {list(specs)}; wanted one or more, each with a name: NAME=FOLDER")
        with ExitStack() as undo:
            models = []
            for name, folder in parts:
                models.append(
                    ChatModel.load(name, (resolve or local_folder)(folder), config or EngineConfig(), device=device)
                )
                undo.callback(models[-1].engine.close)
            undo.pop_all()
            return cls(models)

    @property
    def default(self) -> ChatModel:
        return next(iter(self._models.values()))

    def __getitem__(self, name: str) -> ChatModel:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def close(self) -> None:
        """Ends every answer and every engine."""
        for model in self._models.values():
            model.engine.close()

    def __enter__(self) -> ChatModels:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
