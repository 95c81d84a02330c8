"""Small random models of several families, each with the tiny tokenizer; made once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from backflip.lm.hub import tiny_model

_SHAPE = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 32, "initializer_range": 0.2}
_GATED = _SHAPE | {"num_key_value_heads": 2, "intermediate_size": 48}
FAMILIES: dict[str, Callable[..., PreTrainedConfig]] = {
    "llama": lambda **k: LlamaConfig(**_GATED, tie_word_embeddings=False, **k),
    "mistral": lambda **k: MistralConfig(**_GATED, head_dim=8, sliding_window=None, **k),
    "qwen2": lambda **k: Qwen2Config(**_GATED, tie_word_embeddings=True, **k),
    "qwen3": lambda **k: Qwen3Config(**_GATED, head_dim=8, **k),
    "gpt2": lambda **k: GPT2Config(n_layer=3, n_head=4, n_embd=32, initializer_range=0.2, **k),
    "gpt_neox": lambda **k: GPTNeoXConfig(**_SHAPE, intermediate_size=48, **k),
}


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama of `backflip.lm.hub`: 2 layers, width 32, 300 tokens."""
    return tiny_model(tmp_path_factory.mktemp("tiny") / "model").folder


@pytest.fixture(scope="session")
def family_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a random model of the named family (see FAMILIES), 3 layers of width 32."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
            config = FAMILIES[name](
                vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id
            )
            with torch.random.fork_rng():
                torch.manual_seed(5)
                model = AutoModelForCausalLM.from_config(config)
            made[name] = tmp_path_factory.mktemp(name) / "model"
            model.save_pretrained(made[name])
            tokenizer.save_pretrained(made[name])
        return made[name]

    return folder
