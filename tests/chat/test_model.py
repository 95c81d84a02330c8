"""Models by name, and an answer from one of them."""

import threading
from pathlib import Path

import pytest

from backflip.chat.model import ChatModels, Sampling
from backflip.chat.reply import Finish, Reply
from backflip.errors import ConfigError, ModelError
from backflip.lm.engine import EngineConfig
from backflip.records import Message


def test_talk_with_a_model_by_name(chat_folder: Path) -> None:
    with ChatModels.load([f"small={chat_folder}", str(chat_folder)], EngineConfig(rows=2, context=128)) as models:
        assert list(models) == ["small", "model"]
        assert models.default.name == "small"
        model, over, events = models["model"], threading.Event(), []
        sampling = Sampling(max_tokens=8, seed=3)
        reply = Reply(model.tokens)

        def listen(token: int | None, why: object) -> None:
            events.extend(reply.push(token, why))  # type: ignore[arg-type]
            if token is None:
                over.set()

        model.ask(model.fit([Message("user", "hi")], sampling).prompt, listen, sampling)
        assert over.wait(30)
    assert isinstance(events[-1], Finish)
    assert events[-1].reason in ("stop", "length")
    assert events[-1].tokens <= 8


def test_names_must_be_each_its_own(chat_folder: Path) -> None:
    for specs in ([], [str(chat_folder), str(chat_folder)]):
        with pytest.raises(ConfigError, match="wanted one or more"):
            ChatModels.load(specs)
    with pytest.raises(ModelError):
        ChatModels.load([str(chat_folder), "none=/nowhere"])
