"""The tiny model with its tokens, once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from backflip.lm.heads import Causal
from backflip.lm.hub import tiny_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama of `backflip.lm.hub`: 2 layers, width 32, 300 tokens."""
    return tiny_model(tmp_path_factory.mktemp("tiny") / "model").folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Causal:
    return Causal.load(tiny_folder)
