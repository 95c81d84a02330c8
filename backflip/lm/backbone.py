"""The one door to Transformers: loading and saving models and tokenizers, and running decoder layers.

A `Backbone` is a decoder without its heads. Models of the Llama family (see `LADDERS`) are run layer by layer, so that
a run can start or stop at any layer: frozen lower layers are computed once and shared by policy, reference and value.
Every other causal model is run whole through its own forward.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from backflip.errors import ModelError
from backflip.lm.huggingface import located
from backflip.lm.linear import accelerate
from backflip.lm.packing import Packed

__all__ = [
    "LADDERS",
    "Backbone",
    "KeyValues",
    "load_causal",
    "load_classifier",
    "load_labelled",
    "load_tokenizer",
    "merged_weights",
    "random_trunk",
    "save_causal",
    "save_classifier",
    "seed_everything",
]

LADDERS = ("llama", "mistral", "qwen2", "qwen3")  # families whose layers take (states, mask, rotary) and nothing else
OFFSET = "reward_offset"  # the config.json key that holds a reward model's normalisation


class KeyValues(Protocol):
    """What the decoder layers need of a cache: store this call's keys and values, return all to attend to."""

    def update(self, keys: Tensor, values: Tensor, layer: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]: ...


class Backbone(nn.Module):
    """A decoder trunk: tokens in, hidden states (rows, length, hidden) after the final norm out."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.config: Any = trunk.config
        self.window = _window(trunk.config)
        self.recompute = False
        accelerate(trunk)

    @property
    def depth(self) -> int:
        return int(self.config.num_hidden_layers)

    @property
    def hidden(self) -> int:
        return int(self.config.hidden_size)

    @property
    def is_ladder(self) -> bool:
        return self.config.model_type in LADDERS

    @property
    def layers(self) -> nn.ModuleList:
        layers = getattr(self.trunk, "layers", None)
        if not isinstance(layers, nn.ModuleList):
            raise ModelError(
                f"model type {self.config.model_type!r} has no list of layers to cut or adapt; "
                f"wanted one of {', '.join(LADDERS)}. Train all weights instead (lora_rank=0, layers=0)"
            )
        return layers

    def keep_layers(self, count: int) -> None:
        """Cuts the trunk to its first `count` layers (0 keeps all): a smaller reward model or value net."""
        if count == 0:
            return
        if not 0 < count <= self.depth:
            raise ModelError(f"asked for the first {count} layers of a model with {self.depth}; give 1 to {self.depth}")
        del self.layers[count:]
        self.config.num_hidden_layers = count
        if getattr(self.config, "layer_types", None):
            self.config.layer_types = self.config.layer_types[:count]

    def residual_dropout(self, share: float) -> None:
        """Dropout on what attention and MLP add to the residual stream, in training mode only (P: 0.2 in SFT)."""
        if not share:
            return
        if not self.is_ladder:
            raise ModelError(
                f"residual dropout is known for {', '.join(LADDERS)}, not for model type {self.config.model_type!r}; "
                "set dropout to 0"
            )
        for layer in self.layers:
            for name in ("self_attn", "mlp"):
                layer.get_submodule(name).register_forward_hook(_Dropout(share))

    def compute_again(self) -> None:
        """From now on training keeps what enters each layer alone, and computes the rest again in backward."""
        if not self.is_ladder:
            raise ModelError(
                f"model type {self.config.model_type!r} is not run layer by layer, as {', '.join(LADDERS)} are; "
                "leave recompute out"
            )
        self.recompute = True

    def forward(self, packed: Packed, *, lower: Tensor | None = None, split: int = 0) -> Tensor:
        """States (rows, length, hidden) of a packed batch; from layer `split` on where `lower` is given."""
        return self.run(
            packed.tokens, packed.positions, packed.mask(), lower=lower, first=split if lower is not None else 0
        )

    @torch.no_grad()
    def lower(self, packed: Packed, split: int) -> Tensor:
        """The states (rows, length, hidden) that enter layer `split`: what a later `forward` takes as `lower`."""
        return self.run(packed.tokens, packed.positions, packed.mask(), last=split)

    def run(
        self,
        tokens: Tensor,  # (rows, length)
        positions: Tensor,  # (rows, length)
        mask: Tensor,  # (rows, 1, length, seen), True where a token sees
        *,
        cache: KeyValues | None = None,
        lower: Tensor | None = None,
        first: int = 0,
        last: int | None = None,
    ) -> Tensor:
        """Layers `first` to `last` (all by default), the final norm included only where the last layer is.

        Raises ModelError where a text is longer than a sliding window, which these masks do not have.
        """
        if self.window and (length := int(positions.max()) + 1) > self.window:
            raise ModelError(
                f"a text of {length} tokens is longer than the sliding window of this model ({self.window}), which is "
                "not supported; give shorter prompts and answers, or use a model without sliding_window"
            )
        if self.is_ladder:
            return self._climb(tokens, positions, mask, cache, lower, first, last)
        if first or last is not None:
            raise ModelError(f"model type {self.config.model_type!r} cannot be split by layers; set split to 0")
        result = self.trunk(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=_additive(mask, self.dtype),
            past_key_values=cache,
            use_cache=cache is not None,
        )
        states: Tensor = result.last_hidden_state
        return states

    def _climb(
        self,
        tokens: Tensor,
        positions: Tensor,
        mask: Tensor,
        cache: KeyValues | None,
        lower: Tensor | None,
        first: int,
        last: int | None,
    ) -> Tensor:
        trunk: Any = self.trunk
        states = trunk.embed_tokens(tokens) if lower is None else lower
        rotary = trunk.rotary_emb(states, position_ids=positions)
        given: dict[str, Any] = {"attention_mask": _additive(mask, states.dtype), "position_ids": positions}
        given |= {"position_embeddings": rotary, "past_key_values": cache}
        again = self.recompute and torch.is_grad_enabled()
        for layer in self.layers[first:last]:
            states = checkpoint(layer, states, use_reentrant=False, **given) if again else layer(states, **given)
        norm: Tensor = trunk.norm(states) if last is None else states
        return norm

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


def _window(config: Any) -> int:
    """Tokens that a layer with a sliding window sees; 0 where none has one. Up to there it is ordinary attention."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and "sliding_attention" not in kinds:
        return 0
    return int(getattr(config, "sliding_window", None) or 0)


class _Dropout:
    """A forward hook that drops a share of a part's output; attention's output is the first of a tuple."""

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, module: nn.Module, _: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (functional.dropout(output[0], self.share, module.training), *output[1:])
        return functional.dropout(output, self.share, module.training)


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """True/False -> 0/-inf once for all layers; attention kernels would each convert it again."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, float("-inf"))


@contextmanager
def _explained(folder: str | Path, what: str) -> Iterator[None]:
    """Any failure to load becomes one ModelError that names the folder."""
    try:
        with _quiet():
            yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"no {what} could be loaded from {str(folder)!r} ({first}); wanted a Transformers folder (config.json, "
            "model.safetensors, tokenizer files) or the id of such a model on the hub"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides Transformers' progress bars and load reports; its errors still come through as exceptions."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        transformers.logging.enable_progress_bar()


def load_causal(folder: str | Path, *, device: str = "cpu") -> tuple[Backbone, nn.Linear]:
    """The trunk and the vocabulary head of a causal model, in float32. Raises ModelError if there is none."""
    with _explained(folder, "causal language model"):
        model = AutoModelForCausalLM.from_pretrained(located(folder), dtype=torch.float32)
    for unsupported in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
        if getattr(model.config, unsupported, None) not in (None, 1.0):
            raise ModelError(f"{folder}: {unsupported} in config.json is not supported; use a model without it")
    head = model.get_output_embeddings()
    if head.bias is not None:  # logits are states @ weight.T everywhere: a bias would be left out in silence
        raise ModelError(f"{folder}: its vocabulary head has a bias, which is not supported; use a model without one")
    backbone = Backbone(model.base_model).to(device)
    backbone.eval()
    return backbone, head.to(device)


def load_classifier(
    folder: str | Path, *, label: str | None = None, device: str = "cpu"
) -> tuple[Backbone, nn.Linear, float]:
    """The trunk, the scalar head and the reward offset of a sequence classifier: of its one label, or of `label`."""
    with _explained(folder, "reward model"):
        model = AutoModelForSequenceClassification.from_pretrained(located(folder), dtype=torch.float32)
        head: nn.Linear = model.score
    offsets = getattr(model.config, OFFSET, 0.0)
    if label is not None:
        head, offsets = _one_label(folder, model.config, head, offsets, label)
    if head.out_features != 1:
        raise ModelError(
            f"{folder} has {head.out_features} labels; a reward model has one. Give a `backflip reward` folder, or "
            f"name one of {', '.join(_labels(model.config))} after a #"
        )
    return Backbone(model.base_model).to(device).eval(), head.to(device), float(offsets)


def _labels(config: Any) -> list[str]:
    return [str(config.id2label[i]) for i in sorted(config.id2label)]


def _one_label(folder: str | Path, config: Any, head: nn.Linear, offsets: Any, label: str) -> tuple[nn.Linear, float]:
    """The row of the head, and the offset, that `label` names."""
    known = _labels(config)
    if label not in known or not isinstance(offsets, list):
        raise ModelError(f"{folder} has no reward of group {label!r}; wanted one of {', '.join(known)}")
    place = known.index(label)
    one = nn.Linear(head.in_features, 1, bias=False)
    one.weight.data.copy_(head.weight.data[place : place + 1])
    return one, float(offsets[place])


def load_labelled(folder: str | Path, *, device: str = "cpu") -> Any:
    """A text classification model as Transformers has it, whatever its labels. Raises ModelError if there is none."""
    with _explained(folder, "text classification model"):
        model = AutoModelForSequenceClassification.from_pretrained(located(folder), dtype=torch.float32)
    return model.to(device).eval()


def random_trunk(folder: str | Path, *, seed: int, layers: int = 0, device: str = "cpu") -> Backbone:
    """A trunk of the shape that `folder` describes, with fresh weights drawn from `seed`."""
    with _explained(folder, "model configuration"):
        config = AutoConfig.from_pretrained(located(folder))
    if layers:
        config.num_hidden_layers = layers
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        trunk = AutoModel.from_config(config, dtype=torch.float32)
    return Backbone(trunk).to(device).eval()


def load_tokenizer(folder: str | Path) -> Any:
    """The folder's tokenizer. Raises ModelError if there is none."""
    with _explained(folder, "tokenizer"):
        return AutoTokenizer.from_pretrained(located(folder))


def save_causal(folder: Path, backbone: Backbone, head: nn.Linear, tokenizer: Any) -> None:
    """Writes an ordinary Transformers folder; adapters are folded into a copy of the weights on the way."""
    config = _plain(backbone.config)
    with _quiet(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    weights = {f"{model.base_model_prefix}.{name}": value for name, value in merged_weights(backbone).items()}
    if not config.tie_word_embeddings:
        weights["lm_head.weight"] = head.weight.detach()
    _save(model, folder, weights, tokenizer)


def save_classifier(
    folder: Path,
    backbone: Backbone,
    head: nn.Linear,
    tokenizer: Any,
    *,
    offset: float | list[float],
    labels: tuple[str, ...] = (),
) -> None:
    """Writes a sequence classifier; its raw score minus config.reward_offset is our reward. Several `labels` have an
    offset each."""
    config = _plain(backbone.config)
    config.num_labels = max(len(labels), 1)
    if labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: i for i, label in enumerate(labels)}
    setattr(config, OFFSET, offset)
    with _quiet(), torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    weights = {f"{model.base_model_prefix}.{name}": value for name, value in merged_weights(backbone).items()}
    weights["score.weight"] = head.weight.detach()
    _save(model, folder, weights, tokenizer)


def _plain(config: Any) -> Any:
    """A copy, so that what a folder says of itself does not change the running model's configuration."""
    return type(config).from_dict(config.to_dict())


def merged_weights(backbone: Backbone) -> dict[str, Tensor]:
    """The trunk's state dict as if it had never had adapters."""
    weights: dict[str, Tensor] = {}
    state = backbone.trunk.state_dict()
    for name, value in state.items():
        if name.endswith((".lora_a", ".lora_b")):
            continue
        weights[name.replace(".base.", ".")] = value
    for name, module in backbone.trunk.named_modules():
        if hasattr(module, "delta"):
            weights[f"{name}.weight"] = module.base.weight.detach() + module.delta().detach()
    return weights


def _save(model: Any, folder: Path, weights: dict[str, Tensor], tokenizer: Any) -> None:
    """`model` is a skeleton on the meta device: it gives the folder its config and names, not its numbers."""
    missing = set(dict(model.named_parameters())) - set(weights)
    if missing:
        raise ModelError(f"cannot save: no weights for {sorted(missing)[:3]}; this model's parts do not fit its class")
    model.config.architectures = [type(model).__name__]
    with _quiet():
        model.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if getattr(model, "generation_config", None) is not None:
            model.generation_config.save_pretrained(folder)
        save_file(
            {k: v.detach().contiguous().cpu() for k, v in weights.items()},
            folder / "model.safetensors",
            metadata={"format": "pt"},
        )
    shutil.copymode(folder / "config.json", folder / "model.safetensors")  # safetensors writes for the owner alone


def seed_everything(seed: int) -> None:
    """Python's, NumPy's and PyTorch's generators, from one seed."""
    transformers.set_seed(seed)
