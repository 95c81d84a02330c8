"""A tiny model to talk with."""

from pathlib import Path

import pytest

from backflip.lm.hub import tiny_model
from backflip.lm.tokens import Tokens


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("chat") / "model").folder


@pytest.fixture(scope="session")
def chat_tokens(chat_folder: Path) -> Tokens:
    return Tokens.load(chat_folder)
