"""A PPO run as a whole: what it saves, when it stops, how it goes on, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from ppo_kit import Kit, count_e, make_kit, steady, weights
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from backflip.config import from_dict, override
from backflip.errors import BackflipError, CheckpointError, ConfigError, DataError, ModelError, TrainingDiverged
from backflip.feedback.store import Store
from backflip.lm.rewards import PythonReward
from backflip.recipes import ppo
from backflip.recipes.ppo import KL, Adapter, Config, Judge, Ptx, Rates, Scores, Trainer, Value
from backflip.recipes.ppo.frozen import Frozen
from backflip.records import Prompt
from backflip.runs.lineage import read_run
from backflip.runs.metrics import read_metrics
from backflip.runs.ranks import World
from backflip.runs.texts import read_texts

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return make_kit(tmp_path_factory.mktemp("ppo_run"))


COUNT_E = PythonReward(count_e)


class Scripted:
    """A judge that has its mind made up: the next of `means` for every text."""

    def __init__(self, means: Sequence[float]) -> None:
        self.means = iter(means)

    def scores(self, prompts: Any, answers: Any, ended: Any = None) -> list[list[float]]:
        assert all(prompt.messages[0].content.startswith("What is") for prompt in prompts)  # the validation split
        mean = next(self.means)
        return [[mean] for _ in answers]


class StopError(Exception):
    pass


def stop_at(update: int) -> Any:
    def after(trainer: Trainer) -> None:
        if trainer.update == update:
            raise StopError

    return after


def everything(kit: Kit, folder: Path, **changes: Any) -> Config:
    """Every piece of state at work."""
    return kit.config(
        folder=folder,
        updates=5,
        ema=0.8,
        scores=Scores(normalise=True),
        kl=KL(beta=0.1, target=1.0, horizon=100),
        ptx=Ptx(text=(kit.text,), examples=1, length=8, weight=1.0),
        judge=Judge(every=1),
        inner_epochs=2,
        **changes,
    )


# --- resuming (detail 18)


@pytest.mark.parametrize(
    ("adapter", "kill"),  # checkpoints are of updates 2, 4 and 5
    [(Adapter(), 1), (Adapter(), 3), (Adapter(rank=2, layers=1, value_rank=2), 2)],
)
def test_a_run_that_stopped_goes_on_with_the_same_numbers(
    kit: Kit, tmp_path: Path, adapter: Adapter, kill: int
) -> None:
    judge = PythonReward(lambda *given: float(len(given[1])))
    whole = ppo.run(everything(kit, tmp_path / "whole", adapter=adapter), reward=COUNT_E, judge=judge)
    config = everything(kit, tmp_path / "broken", adapter=adapter)
    with pytest.raises(StopError):
        ppo.run(config, reward=COUNT_E, judge=judge, after_update=stop_at(kill))
    assert read_run(config.folder).status == "failed"
    resumed = ppo.run(config, reward=COUNT_E, judge=judge)
    assert (resumed.best_update, resumed.judge, resumed.stopped) == (whole.best_update, whole.judge, "finished")
    lines = [[steady(line) for line in read_metrics(tmp_path / name)] for name in ("whole", "broken")]
    assert lines[0] == lines[1]
    assert [line["step"] for line in lines[0]] == [0, 1, 2, 3, 4, 5]
    texts = [read_texts(tmp_path / name) for name in ("whole", "broken")]
    assert texts[0] == texts[1]
    assert Counter((w.step, w.split) for w in texts[0]) == (
        {(step, "train"): 2 for step in range(1, 6)} | {(step, "validation"): 2 for step in range(6)}
    )
    assert Path(whole.model, "model.safetensors").read_bytes() == Path(resumed.model, "model.safetensors").read_bytes()


def test_a_finished_run_is_not_run_again(kit: Kit, tmp_path: Path) -> None:
    config = kit.config(folder=tmp_path / "run")
    first = ppo.run(config, reward=COUNT_E)
    again = ppo.run(config, reward=PythonReward(lambda *_: 1 / 0))  # would raise if it were asked
    assert again == first
    assert len(read_metrics(config.folder)) == 3


# --- what is saved


def test_the_average_of_the_weights_is_saved(kit: Kit, tmp_path: Path) -> None:
    config = kit.config(folder=tmp_path / "run", ema=0.75, minibatch=8)  # one optimiser step an update
    seen: list[dict[str, torch.Tensor]] = []
    result = ppo.run(config, reward=COUNT_E, after_update=lambda trainer: seen.append(weights(trainer)))
    expected = dict(load_file(kit.model / "model.safetensors"))
    for step in seen:  # the mean starts at the first weights: 0.75 of itself and a quarter of the new
        expected = {name: 0.75 * mean + 0.25 * step[name.removeprefix("model.")] for name, mean in expected.items()}
    saved = load_file(Path(result.model) / "model.safetensors")
    assert saved.keys() == expected.keys()
    for name, value in saved.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=3e-7)
    assert any((saved[n] - seen[-1][n.removeprefix("model.")]).abs().max() > 1e-5 for n in saved)


def test_a_few_texts_are_kept_for_people(kit: Kit, tmp_path: Path) -> None:
    config = kit.config(folder=tmp_path / "run")
    scored: list[tuple[str, str, float]] = []

    def score(prompt: Prompt, text: str, ended: bool) -> float:
        scored.append(
            (prompt.messages[-1].content if prompt.messages else str(prompt.text), text, float(text.count("e")))
        )
        return scored[-1][2]

    ppo.run(config, reward=PythonReward(score))
    texts = read_texts(config.folder)
    assert {w.step for w in texts} == {1, 2, 3}
    for written in texts:
        assert (written.prompt[-1][1], written.text, written.score) in scored


def test_the_saved_policy_is_an_ordinary_model(kit: Kit, tmp_path: Path) -> None:
    last: list[Trainer] = []
    config = kit.config(
        folder=tmp_path / "run", ema=0.0, adapter=Adapter(rank=2, value_rank=2), rates=Rates(policy=1e-2)
    )
    result = ppo.run(config, reward=COUNT_E, after_update=last.append)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(result.model), AutoTokenizer.from_pretrained(result.model)
    assert tokenizer.chat_template
    for name, value in weights(last[-1]).items():
        torch.testing.assert_close(model.model.state_dict()[name], value, rtol=0, atol=0)


def test_the_best_by_the_judge_is_kept(kit: Kit, tmp_path: Path) -> None:
    config = kit.config(folder=tmp_path / "run", judge=Judge(every=1), ema=0.0)
    seen: list[dict[str, torch.Tensor]] = []
    judge = Scripted([0.25, 0.5, 2.0, 1.0])  # the start, and after each update
    result = ppo.run(config, reward=COUNT_E, judge=judge, after_update=lambda t: seen.append(weights(t)))
    assert (result.best_update, result.judge, result.updates) == (2, 2.0, 3)
    assert [line["judge/score"] for line in read_metrics(config.folder)] == [0.25, 0.5, 2.0, 1.0]
    saved = load_file(Path(result.model) / "model.safetensors")
    assert all(torch.equal(value, seen[1][name.removeprefix("model.")]) for name, value in saved.items())
    assert not (config.folder / "best").exists()


def test_a_judge_is_asked_at_the_start_every_so_often_and_at_the_end(kit: Kit, tmp_path: Path) -> None:
    config = kit.config(folder=tmp_path / "run", judge=Judge(every=2))
    result = ppo.run(config, reward=COUNT_E, judge=Scripted([1.0, 2.0, 3.0]))
    lines = [(line["step"], line.get("judge/score")) for line in read_metrics(config.folder)]
    assert lines == [(0, 1.0), (1, None), (2, 2.0), (3, 3.0)]
    assert (result.best_update, result.judge) == (3, 3.0)


def test_the_policy_that_it_started_from_may_be_the_best(kit: Kit, tmp_path: Path) -> None:
    config = kit.config(folder=tmp_path / "run", judge=Judge(every=2))
    result = ppo.run(config, reward=COUNT_E, judge=Scripted([3.0, 2.0, 1.0]))
    assert (result.best_update, result.judge, result.updates) == (0, 3.0, 3)
    saved, first = (load_file(Path(folder) / "model.safetensors") for folder in (result.model, kit.model))
    assert all(torch.equal(value, first[name]) for name, value in saved.items())


def test_a_leftover_model_is_replaced_and_checkpoints_go(kit: Kit, tmp_path: Path) -> None:
    config = kit.config(folder=tmp_path / "run", updates=1)
    leftover = config.folder / "model" / "leftover"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    ppo.run(config, reward=COUNT_E, judge=Scripted([1.0, 2.0]))
    assert not leftover.exists()
    assert (config.folder / "model" / "config.json").exists()
    assert not (config.folder / "checkpoints").exists()
    assert not list(config.folder.glob(".*.partial"))


def test_a_kl_budget_ends_training(kit: Kit, tmp_path: Path) -> None:
    config = kit.config(folder=tmp_path / "run", updates=50, rates=Rates(policy=0.1), kl=KL(beta=0.0, budget=0.5))
    result = ppo.run(config, reward=COUNT_E, judge=Scripted([1.0, 2.0]))  # of the start and of the end
    kls = [line["objective/kl"] for line in read_metrics(config.folder)[1:]]
    assert result.stopped == "kl budget"
    assert result.updates == result.best_update == len(kls) < 50
    assert kls[-1] > 0.5 >= max(kls[:-1])


def test_parents_are_recorded(kit: Kit, tmp_path: Path) -> None:
    config = kit.config(folder=tmp_path / "run", updates=1, ptx=Ptx(text=(kit.text,), examples=1, length=8))
    ppo.run(config, reward=COUNT_E, judge=Scripted([1.0, 2.0]))
    kinds = [(parent.kind, parent.ref.rpartition("/")[2]) for parent in read_run(config.folder).parents]
    assert kinds == [
        ("model", "tiny"),
        ("data", "python:ppo_kit:count_e"),
        ("data", "train"),
        ("data", "validation"),
        ("data", "prose.txt"),
    ]


def test_every_metric_is_explained(kit: Kit, tmp_path: Path) -> None:
    ppo.run(everything(kit, tmp_path / "run"), reward=COUNT_E, judge=COUNT_E)
    written = set(read_metrics(tmp_path / "run")[-1]) - {"step"}
    for page in ("metrics.md", "ppo.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert not {name for name in written if f"`{name}`" not in text}, page


def test_every_field_is_explained() -> None:
    text = (ROOT / "docs" / "ppo.md").read_text(encoding="utf-8")
    nested = {"kl": KL, "ptx": Ptx, "adapter": Adapter, "rates": Rates, "value": Value}
    nested |= {"scores": Scores, "judge": Judge}
    names = {name for name in Config.__dataclass_fields__ if name not in nested}
    names |= {f"{group}.{name}" for group, cls in nested.items() for name in cls.__dataclass_fields__}
    assert not {name for name in names if f"`{name}`" not in text}


# --- what is refused: one clear error, and nothing half-written


def refused(kit: Kit, folder: Path, error: type[BackflipError], match: str, **changes: Any) -> None:
    """Raises as wanted before anything is written."""
    with pytest.raises(error, match=match):
        ppo.run(kit.config(folder=folder, **changes))
    assert not folder.exists()


def test_what_is_missing_is_named(kit: Kit, tmp_path: Path) -> None:
    run, nowhere = tmp_path / "run", tmp_path / "nowhere"
    refused(kit, run, ModelError, "there is no folder '.*nowhere'", policy=nowhere)
    refused(kit, run, ModelError, "there is no folder '.*nowhere'", reward=((str(nowhere), 1.0),))
    refused(kit, run, ModelError, "there is no folder '.*nowhere'", value=Value(start=nowhere))
    refused(kit, run, ConfigError, "'python:nowhere:f' cannot be imported", reward=(("python:nowhere:f", 1.0),))
    refused(kit, run, ConfigError, "finite weights", reward=(("python:ppo_kit:count_e", float("inf")),))
    refused(kit, run, DataError, "prompt set 'other' .* has no prompts in split 'train'", prompts="other")
    refused(kit, run, DataError, "no prompts in split 'test'", judge=Judge(spec=kit.config().reward, split="test"))
    refused(kit, run, DataError, "pretraining text .*nowhere cannot be read", ptx=Ptx(text=(nowhere,)))
    refused(kit, run, ConfigError, "this model has 2", adapter=Adapter(rank=2, layers=3))


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("batch", 9, "batch is 9; wanted a multiple of 4"),
        ("samples", 3, "wanted a multiple of 3"),
        ("temperature", 0.0, "temperature is 0.0"),
        ("rates.policy", -1.0, "rates.policy is -1.0; wanted above 0"),
        ("rates.warmup", -1, "rates.warmup is -1"),
        ("value.clip", 0.0, "value.clip is 0.0; wanted above 0"),
        ("value.warmup", -1, "value.warmup is -1"),
        ("judge.every", 0, "judge.every is 0; wanted 1 or more"),
        ("seed", -1, "seed is -1; wanted 0 to below"),
        ("lam", 1.5, "lam is 1.5"),
        ("kl.beta", -1.0, "kl.beta is -1.0"),
        ("adapter.layers", -1, "adapter.layers is -1"),
    ],
)
def test_nonsense_is_refused_by_its_field(kit: Kit, field: str, value: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        override(kit.config(), **{field: value})


def test_an_unknown_field_is_named(kit: Kit) -> None:
    with pytest.raises(ConfigError, match="learning_rate"):
        from_dict(Config, {"policy": "p", "reward": [["r", 1.0]], "store": "s", "learning_rate": 1.0})


def test_fewer_prompts_a_minibatch_than_ranks(kit: Kit) -> None:
    with pytest.raises(ConfigError, match="minibatch is '2 prompts'; wanted one for each of 3 ranks"):
        Trainer(kit.config(), World(0, 3, torch.device("cpu")), reward=Frozen(lambda: COUNT_E, keep=True))


def _changed_tokenizer(kit: Kit, folder: Path, **changes: Any) -> Path:
    model = AutoModelForCausalLM.from_pretrained(kit.model)
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(kit.model)
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    tokenizer.save_pretrained(folder)
    return folder


def test_tokenizers_that_do_not_serve(kit: Kit, tmp_path: Path) -> None:
    unpadded = _changed_tokenizer(kit, tmp_path / "unpadded", pad_token="<|im_end|>")
    refused(kit, tmp_path / "run", ModelError, "pads with its EOS", policy=unpadded)
    silent = _changed_tokenizer(kit, tmp_path / "silent", chat_template=None)
    with pytest.raises(ModelError, match="has no chat template"):
        ppo.run(kit.config(folder=tmp_path / "mute", policy=silent))
    assert not (tmp_path / "mute" / "model").exists()


def test_a_prompt_without_tokens_is_named(kit: Kit, tmp_path: Path) -> None:
    empty = Prompt(text="")
    for split, judge in (("train", None), ("validation", COUNT_E)):
        with Store.open(str(tmp_path / f"{split}.db")) as store:
            store.add_prompts([Prompt.ask("one?")], name="default", split="train")
            store.add_prompts([empty], name="default", split=split)
        config = kit.config(folder=tmp_path / split, store=str(tmp_path / f"{split}.db"))
        with pytest.raises(DataError, match=f"prompt {empty.id[:12]} has no tokens"):
            ppo.run(config, reward=COUNT_E, judge=judge)


def test_a_value_net_must_read_the_policys_tokens(kit: Kit, tmp_path: Path) -> None:
    AutoModelForSequenceClassification.from_pretrained(kit.model, num_labels=1).save_pretrained(tmp_path / "value")
    tokenizer = AutoTokenizer.from_pretrained(kit.model)
    tokenizer.add_tokens(["another"])
    tokenizer.save_pretrained(tmp_path / "value")
    refused(kit, tmp_path / "run", ConfigError, "whose tokenizer differs", value=Value(start=tmp_path / "value"))


def test_a_reward_of_nan_ends_training(kit: Kit, tmp_path: Path) -> None:
    config = kit.config(folder=tmp_path / "run", checkpoint_every=1)
    calls: list[int] = []

    def sour(prompt: Prompt, text: str, ended: bool) -> float:
        calls.append(1)
        return 1.0 if len(calls) <= 8 else float("nan")

    with pytest.raises(TrainingDiverged, match=r"scored an answer to prompt \w+ with nan; wanted a finite number"):
        ppo.run(config, reward=PythonReward(sour))
    assert read_run(config.folder).status == "failed"
    assert len(read_metrics(config.folder)) == 1
    assert not (config.folder / "model").exists()
    assert ppo.run(config, reward=COUNT_E).updates == 3  # the last checkpoint stands


def test_a_folder_of_another_configuration(kit: Kit, tmp_path: Path) -> None:
    config = kit.config(folder=tmp_path / "run")
    ppo.run(config, reward=COUNT_E)
    with pytest.raises(CheckpointError, match=r"holds a run of other work: .*rates.policy is 0.001 there, wanted 0.01"):
        ppo.run(override(config, **{"rates.policy": 0.01}), reward=COUNT_E)


def test_a_prompt_set_that_has_grown_is_other_work(kit: Kit, tmp_path: Path) -> None:
    with Store.open(str(tmp_path / "feedback.db")) as store:
        store.add_prompts([Prompt.ask("one?")], name="default")
    config = kit.config(folder=tmp_path / "run", store=str(tmp_path / "feedback.db"))
    with pytest.raises(StopError):
        ppo.run(config, reward=COUNT_E, after_update=stop_at(1))
    with Store.open(str(tmp_path / "feedback.db")) as store:
        store.add_prompts([Prompt.ask("two?")], name="default")
    with pytest.raises(CheckpointError, match="other work"):
        ppo.run(config, reward=COUNT_E)


def test_the_command_line_says_one_thing_and_exits(kit: Kit, tmp_path: Path) -> None:
    words = ["--policy", str(tmp_path / "nowhere"), "--reward", "python:ppo_kit:count_e", "1.0", "--store", kit.store]
    done = subprocess.run(
        [sys.executable, "-m", "backflip.recipes.ppo", *words, "--folder", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
        timeout=100,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("there is no folder")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_result_is_plain(kit: Kit, tmp_path: Path) -> None:
    config = kit.config(folder=tmp_path / "run", updates=1)
    result = ppo.run(config, reward=COUNT_E)
    assert json.loads((config.folder / "run.json").read_text())["result"] == vars(result)
