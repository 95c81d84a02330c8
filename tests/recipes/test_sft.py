"""SFT equals its slow version, resumes to the bit, keeps and picks, and says clearly what it cannot do."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from backflip.errors import CheckpointError, ConfigError, DataError, ModelError, TrainingDiverged
from backflip.feedback.store import Store
from backflip.lm.data import demonstration_tree, epoch_order
from backflip.lm.hub import tiny_model
from backflip.lm.tokens import Tokens
from backflip.recipes import sft
from backflip.records import Demonstration, Labeller, Prompt
from backflip.runs import read_metrics, read_run

AUTHOR = Labeller("makers", "maker")
TOPICS = ("rain", "snow", "the moon", "bees", "bread", "a boat", "the sea", "a tree", "music", "sleep")
DEMONSTRATIONS = [Demonstration(Prompt.ask(f"What is {t}?"), f"I like {t}. {t} is good.", AUTHOR) for t in TOPICS]
TIMINGS = ("time/", "sft/tokens_per_second")


@pytest.fixture(scope="session")
def sft_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("sft") / "model").folder)


@pytest.fixture
def store(tmp_path: Path) -> str:
    path = str(tmp_path / "feedback.db")
    with Store.open(path) as opened:
        opened.add_demonstrations(DEMONSTRATIONS)
    return path


@pytest.fixture
def configure(tmp_path: Path, store: str, sft_model: str) -> Callable[..., sft.Config]:
    """A small configuration; keywords change it."""

    def make(folder: str = "run", **changes: Any) -> sft.Config:
        defaults: dict[str, Any] = {"epochs": 2, "batch": 4, "learning_rate": 3e-3, "dropout": 0.0, "keep": 2}
        known = {"folder": tmp_path / folder, "store": store, "model": sft_model}
        return sft.Config(**(known | defaults | changes))

    return make


def numbers(folder: Path) -> list[dict[str, float]]:
    """The metrics without timings."""
    return [{k: v for k, v in m.items() if not k.startswith(TIMINGS)} for m in read_metrics(folder)]


def weights(folder: str | Path) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def ends_by_length(prompt: Prompt, text: str, ended: bool) -> float:
    """A reward for the tests: long answers."""
    return float(len(text))


def test_one_update_equals_a_slow_one(configure: Callable[..., sft.Config], sft_model: str) -> None:
    # all demonstrations in one batch: text by text, unpadded, whole logits, one Adam step written out
    config = configure(epochs=1, batch=16, keep=1, validation_share=0.0, micro_tokens=150, clip_norm=1e9)
    result = sft.run(config)
    model = AutoModelForCausalLM.from_pretrained(sft_model)
    tokens = Tokens.load(sft_model)
    trees = [demonstration_tree(tokens, d) for d in DEMONSTRATIONS]
    count = sum(len(t.responses[0]) for t in trees)
    total = 0.0
    for tree in trees:
        text = torch.tensor([[*tree.prompt, *tree.responses[0]]])
        logprobs = model(text).logits[0, :-1].log_softmax(-1).gather(-1, text[0, 1:, None]).squeeze(-1)
        loss = -logprobs[len(tree.prompt) - 1 :].sum() / count
        loss.backward()
        total += loss.item()
    (metrics,) = read_metrics(config.folder)
    assert metrics["sft/loss"] == pytest.approx(total, rel=1e-5)
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None))
    assert metrics["sft/grad_norm"] == pytest.approx(norm, rel=1e-4)
    trained = weights(result.model)
    for name, p in model.named_parameters():
        # Adam's first step is rate * g / (|g| + eps); where |g| is near eps it is sensitive, hence the tolerance
        assert p.grad is not None
        slow = p.detach() - 3e-3 * p.grad / (p.grad.abs() + 1e-5)
        torch.testing.assert_close(trained[name], slow, rtol=0, atol=3e-5)


@pytest.mark.parametrize("change", [{"micro_tokens": 60}, {"row_length": 400}, {"micro_tokens": 1}])
def test_packing_and_passes_change_no_number(configure: Callable[..., sft.Config], change: dict[str, int]) -> None:
    sft.run(configure("one"))
    sft.run(configure("other", **change))
    one, other = (numbers(configure(name).folder) for name in ("one", "other"))
    for a, b in zip(one, other, strict=True):
        assert a == pytest.approx(b, rel=1e-3)


def test_the_loss_falls_and_the_saved_model_is_ordinary(configure: Callable[..., sft.Config]) -> None:
    config = configure(epochs=12, keep=1, learning_rate=1e-2)
    result = sft.run(config)
    losses = [m["sft/loss"] for m in read_metrics(config.folder)]
    assert losses[-1] < 0.3 * losses[0]
    loaded = AutoModelForCausalLM.from_pretrained(result.model)
    tokens = Tokens.load(result.model)
    assert (loaded.config.pad_token_id, loaded.config.eos_token_id) == (tokens.pad, tokens.eos)
    assert loaded.generation_config.eos_token_id == tokens.eos


def test_the_learning_rate_is_a_cosine_to_a_tenth(configure: Callable[..., sft.Config]) -> None:
    config = configure(epochs=3, validation_share=0.2)  # 8 demonstrations, 2 updates an epoch, 6 in all
    result = sft.run(config)
    assert result.steps == 6
    wanted = [3e-3 * (0.1 + 0.45 * (1 + math.cos(math.pi * u / 6))) for u in range(6)]
    assert [m["sft/learning_rate"] for m in read_metrics(config.folder)] == pytest.approx(wanted)


class _StopError(Exception):
    pass


@pytest.mark.parametrize("change", [{}, {"lora_rank": 2, "lora_layers": 1}])
@pytest.mark.parametrize("stop", [2, 4])
def test_a_resumed_run_is_the_same_to_the_bit(
    configure: Callable[..., sft.Config], change: dict[str, int], stop: int, tmp_path: Path
) -> None:
    text = tmp_path / "plain.txt"
    text.write_text("The moon goes around the earth. " * 20)
    options = {"dropout": 0.2, "checkpoint_every": 1, "pretraining": (text,), "pretraining_share": 0.25} | change
    whole = sft.run(configure("whole", **options))

    def interrupt(step: int) -> None:
        if step == stop:
            raise _StopError

    with pytest.raises(_StopError):
        sft.run(configure("parts", **options), after_step=interrupt)
    parts = sft.run(configure("parts", **options))
    assert numbers(configure("parts").folder) == numbers(configure("whole").folder)
    assert all(
        torch.equal(a, b) for a, b in zip(weights(parts.model).values(), weights(whole.model).values(), strict=True)
    )
    assert [k["loss"] for k in parts.kept] == [k["loss"] for k in whole.kept]


def test_steps_since_the_checkpoint_are_done_again(configure: Callable[..., sft.Config]) -> None:
    options = {"dropout": 0.2, "checkpoint_every": 100, "keep": 1}  # no checkpoint before the end

    def interrupt(step: int) -> None:
        if step == 3:
            raise _StopError

    with pytest.raises(_StopError):
        sft.run(configure("parts", **options), after_step=interrupt)
    sft.run(configure("parts", **options))
    sft.run(configure("whole", **options))
    assert numbers(configure("parts").folder) == numbers(configure("whole").folder)


def test_a_finished_run_does_nothing_again(configure: Callable[..., sft.Config]) -> None:
    first = sft.run(configure())
    before = Path(first.model, "model.safetensors").stat().st_mtime_ns

    def never(step: int) -> None:
        raise AssertionError(step)

    again = sft.run(configure(), after_step=never)
    assert again == first
    assert Path(first.model, "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(CheckpointError, match="learning_rate"):
        sft.run(configure(learning_rate=1e-3))


def test_pretraining_text_has_its_share(configure: Callable[..., sft.Config], tmp_path: Path) -> None:
    text = tmp_path / "plain.txt"
    text.write_text("Water falls from the clouds. " * 40)
    config = configure(batch=5, pretraining=(text,), pretraining_share=0.4, pretraining_length=16, keep=1)
    assert (config.documents, config.demonstrations) == (2, 3)
    result = sft.run(config)
    assert result.steps == 2 * 3  # 9 demonstrations, 3 a batch
    for metrics in read_metrics(config.folder):
        assert metrics["sft/pretraining_loss"] > 0
        # two examples of at most 16 tokens, of which all but the first are scored; loss is the mean over all tokens
        low, high = sorted([metrics["sft/pretraining_loss"], metrics["sft/demonstration_loss"]])
        assert low <= metrics["sft/loss"] <= high


def test_every_epoch_or_evenly_spaced_models_are_kept(configure: Callable[..., sft.Config]) -> None:
    # 9 demonstrations in batches of 4: 3 updates an epoch
    assert [k["step"] for k in sft.run(configure("a", epochs=3, keep=0)).kept] == [3, 6, 9]
    assert [k["step"] for k in sft.run(configure("b", epochs=3, keep=2)).kept] == [4, 9]
    assert [k["step"] for k in sft.run(configure("c", epochs=1, keep=9)).kept] == [1, 2, 3]


def test_validation_loss_is_that_of_the_kept_model_alone(configure: Callable[..., sft.Config]) -> None:
    config = configure(validation_share=0.3, dropout=0.3)
    result = sft.run(config)
    assert (result.validation, result.demonstrations) == (3, 7)
    held = sft._read(config).validation
    for kept in result.kept:
        model, tokens = AutoModelForCausalLM.from_pretrained(kept["folder"]), Tokens.load(kept["folder"])
        summed, count = 0.0, 0
        for tree in (demonstration_tree(tokens, d) for d in held):
            text = torch.tensor([[*tree.prompt, *tree.responses[0]]])
            logprobs = model(text).logits[0, :-1].log_softmax(-1).gather(-1, text[0, 1:, None])
            summed -= logprobs[len(tree.prompt) - 1 :].sum().item()
            count += len(tree.responses[0])
        assert kept["loss"] == pytest.approx(summed / count, rel=1e-5)


def test_picks_last_lowest_loss_or_highest_reward(configure: Callable[..., sft.Config]) -> None:
    # at this rate the validation loss gets worse: the last is not the best
    options = {"learning_rate": 0.05, "epochs": 4, "keep": 4, "validation_share": 0.3, "pick_tokens": 12}
    last = sft.run(configure("last", **options))
    assert last.step == last.steps
    by_loss = sft.run(configure("loss", pick_by="loss", **options))
    assert by_loss.loss == min(k["loss"] for k in by_loss.kept)
    spec = f"python:{__name__}:ends_by_length"
    by_reward = sft.run(configure("reward", pick_by="reward", reward_model=spec, **options))
    assert by_reward.reward == max(k["reward"] for k in by_reward.kept)
    assert all(k["reward"] is None for k in last.kept)
    for result in (last, by_loss, by_reward):
        chosen = next(k for k in result.kept if k["step"] == result.step)
        assert all(
            torch.equal(a, b)
            for a, b in zip(weights(result.model).values(), weights(chosen["folder"]).values(), strict=True)
        )


def test_a_prompt_set_says_what_is_held_out(configure: Callable[..., sft.Config], store: str) -> None:
    with Store.open(store) as opened:
        for split, some in (("validation", DEMONSTRATIONS[:2]), ("test", DEMONSTRATIONS[2:5])):
            opened.add_prompts([d.prompt for d in some], name="set", split=split)
        opened.add_prompts([Prompt.ask("What is wind?")], name="set", split="validation")
    data = sft._read(configure(prompts="set"))
    assert data.validation == DEMONSTRATIONS[:2]
    assert data.train == DEMONSTRATIONS[5:]
    assert data.prompts == [*(d.prompt for d in DEMONSTRATIONS[:2]), Prompt.ask("What is wind?")]


def test_the_share_holds_out_whole_prompts(configure: Callable[..., sft.Config], store: str) -> None:
    with Store.open(store) as opened:
        opened.add_demonstrations([Demonstration(d.prompt, "Another answer.", AUTHOR) for d in DEMONSTRATIONS])
    data = sft._read(configure(validation_share=0.3))
    held, trained = ({d.prompt.id for d in part} for part in (data.validation, data.train))
    assert (len(held), len(trained)) == (3, 7)
    assert not held & trained
    assert sft._read(configure(validation_share=0.3)) == data
    assert sft._read(configure(validation_share=0.3, seed=1)).validation != data.validation


def test_a_limit_takes_the_first_demonstrations_and_holds_out_the_same(configure: Callable[..., sft.Config]) -> None:
    whole, few = sft._read(configure(validation_share=0.3)), sft._read(configure(validation_share=0.3, limit=4))
    assert (few.train, few.validation) == (whole.train[:4], whole.validation)


def test_every_demonstration_is_seen_once_an_epoch(configure: Callable[..., sft.Config]) -> None:
    config = configure(validation_share=0.0)
    trainer = sft._Trainer(config, sft._read(config), sft.world())
    seen = [tree for step in range(3) for tree in trainer.batch(step)[0]]
    assert [len(trainer.batch(step)[0]) for step in range(3)] == [4, 4, 2]
    assert seen == [trainer.train[i] for i in epoch_order(10, seed=0, epoch=0)]


def test_lineage_names_model_and_demonstrations(configure: Callable[..., sft.Config]) -> None:
    config = configure()
    sft.run(config)
    record = read_run(config.folder)
    assert record is not None
    assert [p.kind for p in record.parents] == ["model", "data"]
    assert record.parents[1].detail["demonstrations"] == 9
    assert len(record.parents[1].detail["sha256"]) == 64


def test_an_empty_store(configure: Callable[..., sft.Config], tmp_path: Path) -> None:
    Store.open(tmp_path / "empty.db").close()
    with pytest.raises(DataError, match="has 0 demonstrations"):
        sft.run(configure(store=str(tmp_path / "empty.db")))


def test_nothing_to_pick_by(configure: Callable[..., sft.Config]) -> None:
    with pytest.raises(DataError, match="nothing is held out"):
        sft.run(configure(pick_by="loss", validation_share=0.0))


def test_a_missing_model(configure: Callable[..., sft.Config], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing"):
        sft.run(configure(model=str(tmp_path / "nothing")))
    assert not (configure().folder / "model").exists()


def test_missing_pretraining_text(configure: Callable[..., sft.Config], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        sft.run(configure(pretraining=(tmp_path / "nothing.txt",)))


def test_a_loss_that_is_not_finite(configure: Callable[..., sft.Config], sft_model: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    broken = tmp_path / "broken"
    broken.mkdir()
    for file in Path(sft_model).iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    values = weights(sft_model)
    values["model.norm.weight"][0] = math.nan
    save_file(values, broken / "model.safetensors", metadata={"format": "pt"})
    config = configure(model=str(broken))
    with pytest.raises(TrainingDiverged, match="nan"):
        sft.run(config)
    assert not (config.folder / "model").exists()
    assert json.loads((config.folder / "run.json").read_text())["status"] == "failed"


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch": 0},
        {"learning_rate": 0.0},
        {"dropout": 1.0},
        {"validation_share": -0.1},
        {"limit": 0},
        {"reward_model": None, "pick_by": "reward"},
        {"batch": 1, "pretraining": (Path("some.txt"),)},
        {"pretraining_length": 1},
        {"seed": -1},
        {"seed": 2**32},
    ],
)
def test_nonsense_is_refused_by_name(configure: Callable[..., sft.Config], change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        configure(**change)


def test_two_ranks_are_one_run_through_the_command_line(configure: Callable[..., sft.Config], sft_model: str) -> None:
    alone, together = configure("alone", validation_share=0.2), configure("together")
    sft.run(alone)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "backflip.recipes.sft", "--folder", str(together.folder)]
    command += ["--store", together.store, "--model", sft_model, "--epochs", "2", "--batch", "4", "--keep", "2"]
    command += ["--learning-rate", "3e-3", "--dropout", "0", "--validation-share", "0.2"]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(command, env=os.environ | shared | {"RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    assert str(together.folder / "model") in said[0]
    for one, other in zip(numbers(together.folder), numbers(alone.folder), strict=True):
        assert one == pytest.approx(other, rel=1e-3)
