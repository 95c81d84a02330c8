"""Reads a Llama model out of a GGUF file: configuration, float32 weights, tokenizer and chat template.

Written for the SmolLM2 family. What it does not know (another architecture, pre-tokenizer or tensor) it refuses by
name: a model that is read almost right is worse than none. Format: the GGUF specification of ggml-org/ggml.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from backflip.errors import DependencyError, ModelError

__all__ = ["GGUFModel", "byte_level_tokenizer", "read_gguf"]

_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CONTROL_TOKEN = 3  # the specification's token type for special tokens


@dataclass(frozen=True)
class GGUFModel:
    """What a GGUF file holds, in Transformers' names.

    `config`: arguments of `LlamaConfig`; `weights`: float32 by parameter name, without `lm_head` where it is tied;
    `bos`, `eos`: token strings; `chat_template`: Jinja, or None.
    """

    config: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    tokenizer: Tokenizer
    bos: str
    eos: str
    chat_template: str | None


def read_gguf(path: Path) -> GGUFModel:
    """Reads and de-quantises the Llama model at `path`. Raises ModelError on what is not supported or not GGUF."""
    try:
        import gguf
    except ImportError as error:
        raise DependencyError("reading a GGUF file needs the package gguf; install backflip[demo]") from error
    try:
        reader = gguf.GGUFReader(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not a readable GGUF file ({error}); wanted a Llama model as GGUF") from error
    fields = {name: field.contents() for name, field in reader.fields.items()}
    config = _config(fields)
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    weights = dict(_weights(reader.tensors, gguf.dequantize, heads))
    config["tie_word_embeddings"] = "lm_head.weight" not in weights
    tokens = _get(fields, "tokenizer.ggml.tokens")
    return GGUFModel(
        config=config,
        weights=weights,
        tokenizer=_tokenizer(fields),
        bos=tokens[config["bos_token_id"]],
        eos=tokens[config["eos_token_id"]],
        chat_template=fields.get("tokenizer.chat_template"),
    )


def _get(fields: Mapping[str, Any], name: str, wanted: object = None) -> Any:
    """The value of a metadata field, which must be there, and be `wanted` where that is given."""
    if name not in fields:
        raise ModelError(f"the GGUF file has no field {name}; wanted a complete Llama model")
    if wanted is not None and fields[name] != wanted:
        raise ModelError(f"the GGUF file's {name} is {fields[name]!r}; wanted {wanted!r}; give a Transformers folder")
    return fields[name]


def _config(fields: Mapping[str, Any]) -> dict[str, Any]:
    _get(fields, "general.architecture", wanted="llama")
    return {
        "vocab_size": len(_get(fields, "tokenizer.ggml.tokens")),
        "hidden_size": _get(fields, "llama.embedding_length"),
        "intermediate_size": _get(fields, "llama.feed_forward_length"),
        "num_hidden_layers": _get(fields, "llama.block_count"),
        "num_attention_heads": _get(fields, "llama.attention.head_count"),
        "num_key_value_heads": _get(fields, "llama.attention.head_count_kv"),
        "max_position_embeddings": _get(fields, "llama.context_length"),
        "rms_norm_eps": _shortest(_get(fields, "llama.attention.layer_norm_rms_epsilon")),
        "rope_parameters": {"rope_type": "default", "rope_theta": _shortest(_get(fields, "llama.rope.freq_base"))},
        "bos_token_id": _get(fields, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": _get(fields, "tokenizer.ggml.eos_token_id"),
    }


def _shortest(value: float) -> float:
    """GGUF stores float32, so 1e-5 reads as 9.999999747378752e-06: the float32's shortest decimal was meant."""
    return float(str(np.float32(value)))


def _weights(tensors: Any, dequantize: Any, heads: Mapping[str, int]) -> Iterator[tuple[str, Tensor]]:
    for tensor in tensors:
        name, kind = _parameter(tensor.name)
        array = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if kind in heads:
            array = _interleaved_to_halves(array, heads[kind])
        yield name, torch.from_numpy(np.array(array, order="C"))  # a copy: the reader's arrays are a read-only map


def _parameter(name: str) -> tuple[str, str]:
    """ "blk.3.attn_q.weight" -> ("model.layers.3.self_attn.q_proj.weight", "attn_q")."""
    match name.split("."):
        case [kind, "weight"] if kind in _TOP:
            return f"{_TOP[kind]}.weight", kind
        case ["blk", layer, kind, "weight"] if kind in _BLOCK:
            return f"model.layers.{layer}.{_BLOCK[kind]}.weight", kind
    raise ModelError(f"the GGUF file has a tensor {name!r}, not part of a plain Llama; give a Transformers folder")


def _interleaved_to_halves(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Rows of a query or key projection, (heads * size, hidden), from GGUF's rotary order to Transformers'.

    GGUF rotates neighbours (0, 1), (2, 3), ...; Transformers rotates a head's first half against its second.
    """
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _tokenizer(fields: Mapping[str, Any]) -> Tokenizer:
    _get(fields, "tokenizer.ggml.model", wanted="gpt2")
    _get(fields, "tokenizer.ggml.pre", wanted="smollm")
    tokens = _get(fields, "tokenizer.ggml.tokens")
    kinds = _get(fields, "tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ", 1)) for merge in _get(fields, "tokenizer.ggml.merges")]
    bpe = models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges)
    tokenizer = byte_level_tokenizer(bpe)
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def byte_level_tokenizer(bpe: models.BPE) -> Tokenizer:
    """SmolLM2's way of cutting text before BPE: each digit alone, then GPT-2's byte-level words. No space is added."""
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
