"""The reward recipe on a tiny model: the loss it trains on, what it holds out, resuming, and what it saves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification

from backflip.errors import CheckpointError, ConfigError, DataError, ModelError, TrainingDiverged
from backflip.feedback.pairs import pairs
from backflip.feedback.store import Store
from backflip.lm.backbone import load_causal
from backflip.lm.heads import Scalar
from backflip.lm.hub import tiny_model
from backflip.lm.rewards import RewardFolder
from backflip.lm.tokens import Tokens
from backflip.recipes import reward
from backflip.records import Answer, Candidate, Demonstration, Labeller, Prompt, Question
from backflip.runs import read_metrics, read_run

ANN, BO = Labeller("ann", "simulated", {"language": "en"}), Labeller("bo", "simulated", {"language": "de"})
TEXTS = ["The moon is a big ball.", "Rain falls.", "It is the sun, and the sky.", "No."]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny") / "model").folder


def asked(number: int, texts: Sequence[str] = TEXTS) -> Question:
    return Question("text", tuple(Candidate(t) for t in texts), Prompt.ask(f"Why is number {number}?"))


def ranked(question: Question, labeller: Labeller = ANN, *, tied: bool = False) -> Answer:
    """The longest text is the best; with `tied`, the two best are one tier."""
    order = [c.id for c in sorted(question.candidates, key=lambda c: -len(c.text or ""))]
    tiers = [tuple(order[:2]), *((c,) for c in order[2:])] if tied else [(c,) for c in order]
    return Answer(question.id, labeller, tuple(tiers))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Eight rankings of four by ann, every other one with a tie."""
    with Store.open(tmp_path / "store.db") as opened:
        for number in range(8):
            opened.add_questions([asked(number)], overlap=2)
            opened.answer(ranked(asked(number), tied=number % 2 == 1))
        yield opened


def config(tmp_path: Path, tiny: Path, name: str = "run", **changes: Any) -> reward.Config:
    settings: dict[str, Any] = {"batch": 3, "learning_rate": 1e-3, "epochs": 2, "checkpoint_every": 1, **changes}
    settings = {"store": str(tmp_path / "store.db"), "model": str(tiny), "validation_share": 0.25, **settings}
    return reward.Config(folder=tmp_path / name, **settings)


def numbers(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in read_metrics(folder)]


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "reports" / "reward.json").read_text())
    return found


# --- the loss ---


@pytest.mark.parametrize("ties", ["drop", "half"])
def test_the_loss_is_the_slow_mean_over_pairs(tmp_path: Path, tiny: Path, store: Store, ties: Any) -> None:
    """Every text alone through Transformers' own forward, every pair by hand, two answers share a question's weight."""
    store.answer(ranked(asked(1), BO))
    reward.run(config(tmp_path, tiny, batch=8, epochs=1, ties=ties, lapse=0.1, validation_share=0.0))
    head = Scalar.on_trunk(load_causal(tiny)[0], None, seed=0).head.weight
    trunk, tokens, slow = AutoModel.from_pretrained(tiny).eval(), Tokens.load(tiny), []
    for question in store.questions():
        scores = {}
        for candidate in question.candidates:
            ids = [*tokens.prompt(question.prompt or Prompt(text="")), *tokens.answer(candidate.text or "")]
            with torch.no_grad():
                scores[candidate.id] = float(trunk(torch.tensor([ids])).last_hidden_state[0, -1] @ head[0])
        answers = [n.answer for n in store.answers() if n.answer.question == question.id]
        for answer in answers:
            for pair in pairs(answer, ties):
                p = 0.9 / (1 + math.exp(scores[pair.worse] - scores[pair.better])) + 0.05
                loss = -(pair.target * math.log(p) + (1 - pair.target) * math.log(1 - p))
                slow.append(loss / 6 / len(answers) / 8)
    assert numbers(tmp_path / "run")[0]["reward/loss"] == pytest.approx(sum(slow), rel=1e-5)


def test_passes_bounded_by_tokens_change_nothing(tmp_path: Path, tiny: Path, store: Store) -> None:
    for budget in (1, 100, 10_000):
        reward.run(config(tmp_path, tiny, str(budget), micro_tokens=budget))
    one, some, whole = (numbers(tmp_path / str(budget)) for budget in (1, 100, 10_000))
    for a, b, c in zip(one, some, whole, strict=True):
        assert a == pytest.approx(c, rel=2e-4, abs=1e-6)
        assert b == pytest.approx(c, rel=2e-4, abs=1e-6)


def test_less_memory_changes_nothing(tmp_path: Path, tiny: Path, store: Store) -> None:
    """Without clipping in effect, the lean ways learn the same; two passes an update, and checkpoints as ever."""
    reward.run(config(tmp_path, tiny, "plain", micro_tokens=100, clip_norm=1e9))
    lean = config(tmp_path, tiny, "lean", micro_tokens=100, clip_norm=0.0, recompute=True)
    reward.run(lean)
    for ours, wanted in zip(numbers(tmp_path / "lean"), numbers(tmp_path / "plain"), strict=True):
        assert ours == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    first, second = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("plain", "lean"))
    assert first.keys() == second.keys()
    assert max(float((first[n] - second[n]).abs().max()) for n in first) < 8e-5  # as on two ranks


@pytest.mark.parametrize("lora", [{}, {"lora_rank": 8, "lora_alpha": 16.0}])
def test_eight_rankings_are_learnt_by_heart(tmp_path: Path, tiny: Path, store: Store, lora: dict[str, Any]) -> None:
    settings = {"batch": 8, "epochs": 40, "learning_rate": 1e-2, "validation_share": 0.0, "checkpoint_every": 100}
    reward.run(config(tmp_path, tiny, **settings, **lora))
    last = numbers(tmp_path / "run")[-1]
    assert last["reward/accuracy"] == 1.0
    assert last["reward/loss"] < 0.1


# --- what is held out ---


@given(st.sets(st.text(min_size=1), max_size=30), st.integers(0, 9), st.sampled_from([0.0, 0.1, 0.5, 0.9]))
def test_a_prompt_stays_on_its_side_when_more_come(prompts: set[str], seed: int, share: float) -> None:
    held = reward._held_out(prompts, seed=seed, share=share)
    assert held <= prompts
    assert held == reward._held_out(set(prompts), seed=seed, share=share)
    if share == 0:
        assert not held
    elif len(prompts) > 1:
        assert 0 < len(held) < len(prompts)
    more = reward._held_out(prompts | {f"more {i}" for i in range(200)}, seed=seed, share=share)
    if 1 < len(held) < len(prompts) - 1:
        assert more & prompts == held


def test_no_prompt_is_on_both_sides(tmp_path: Path, tiny: Path, store: Store) -> None:
    store.add_questions([asked(0, TEXTS[:2])])  # a second question on a known prompt
    store.answer(ranked(asked(0, TEXTS[:2])))
    settings = config(tmp_path, tiny, validation_share=0.5)
    data = reward._read(settings, store, store.snapshot(project="default", purpose="train"))
    train, held = ({r.prompt for r in side} for side in (data.train, data.held_out))
    assert train
    assert held
    assert not train & held
    assert len(data.train) + len(data.held_out) == 9


def test_the_report_is_by_distance_labeller_and_group(tmp_path: Path, tiny: Path, store: Store) -> None:
    for number in range(8):
        store.answer(ranked(asked(number), BO))
    result = reward.run(config(tmp_path, tiny))
    found = report(tmp_path / "run")
    held = found["held_out"]
    assert set(held["by_labeller"]) == {"ann", "bo"}
    assert set(held["by_group"]["language"]) == {"de", "en"}
    assert set(held["by_distance"]) == {"1", "2", "3"}
    assert sum(part["pairs"] for part in held["by_distance"].values()) == held["accuracy"]["pairs"]
    assert found["agreement_ceiling"]["value"] == 1.0
    assert result.accuracy == {name: held["accuracy"][name] for name in ("value", "low", "high")}
    assert result.ece == held["calibration"]["ece"]
    last = numbers(tmp_path / "run")[-1]
    assert last["reward/held_out_accuracy"] == pytest.approx(held["accuracy"]["value"])
    assert last["reward/held_out_loss"] == pytest.approx(held["loss"])
    assert [point["loss"] for point in found["loss_curve"]] == [m["reward/loss"] for m in numbers(tmp_path / "run")]


def test_held_out_labellers_are_reported_apart(tmp_path: Path, tiny: Path, store: Store) -> None:
    for number in range(8):
        store.answer(ranked(asked(number), BO))
    store.add_questions([asked(9)])
    store.answer(ranked(asked(9), BO))  # on a prompt that nobody else saw
    result = reward.run(config(tmp_path, tiny, held_out_labellers=("bo",), validation_share=0.25))
    found = report(tmp_path / "run")
    assert set(found["held_out"]["by_labeller"]) == {"ann"}
    assert set(found["held_out_labellers"]["by_labeller"]) == {"bo"}
    assert found["held_out_labellers"]["accuracy"]["prompts"] == found["held_out_questions"] + 1
    assert result.pairs == found["train_pairs"] < 8 * 6


# --- going on ---


class Killed(Exception):
    """Stands for a power cut."""


@pytest.mark.parametrize("lora_rank", [0, 4])
@pytest.mark.parametrize("after_saving", [True, False])
def test_a_resumed_run_gives_the_same_numbers(
    tmp_path: Path, tiny: Path, store: Store, monkeypatch: pytest.MonkeyPatch, after_saving: bool, lora_rank: int
) -> None:
    settings = {"lora_rank": lora_rank, "pick": "best", "epochs": 3}
    whole = reward.run(config(tmp_path, tiny, "whole", **settings))
    really_save = reward.save

    def die(folder: Path, step: int, *rest: Any, **named: Any) -> Any:
        if after_saving or step != 4:
            really_save(folder, step, *rest, **named)
        if step == 4:
            raise Killed

    monkeypatch.setattr(reward, "save", die)
    with pytest.raises(Killed):
        reward.run(config(tmp_path, tiny, "parts", **settings))
    monkeypatch.undo()
    store.add_questions([asked(99)])
    store.answer(ranked(asked(99)))  # what came in between belongs to the next model
    parts = reward.run(config(tmp_path, tiny, "parts", **settings))
    assert numbers(tmp_path / "parts") == numbers(tmp_path / "whole")
    one, other = (load_file(Path(r.model) / "model.safetensors") for r in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (parts.offset, parts.accuracy, parts.answers) == (whole.offset, whole.accuracy, whole.answers)


def test_a_finished_run_is_done(tmp_path: Path, tiny: Path, store: Store) -> None:
    first = reward.run(config(tmp_path, tiny))
    store.answer(ranked(asked(0), BO))
    assert reward.run(config(tmp_path, tiny)) == first
    assert not (tmp_path / "run" / "checkpoints").exists()
    with pytest.raises(CheckpointError, match="learning_rate"):
        reward.run(config(tmp_path, tiny, learning_rate=1e-4))


def test_answers_that_were_withdrawn_or_come_later_are_not_read(tmp_path: Path, tiny: Path, store: Store) -> None:
    store.withdraw(1, "a slip")
    result = reward.run(config(tmp_path, tiny, up_to=6, validation_share=0.0))
    assert result.questions == 5
    assert (result.answers["up_to"], result.answers["withdrawn"], result.answers["answers"]) == (6, 1, 5)
    run = read_run(tmp_path / "run")
    assert run is not None
    (parent,) = (p for p in run.parents if p.kind == "answers")
    assert parent.detail == {"up_to": 6, "withdrawn": 1, "snapshot": result.answers["digest"]}


def test_the_best_epoch_is_the_one_of_the_lowest_held_out_loss(tmp_path: Path, tiny: Path) -> None:
    """On held-out prompts the order is the other way round, so that learning makes the held-out loss rise."""
    questions = {asked(number).prompt: asked(number) for number in range(8)}
    held = reward._held_out({p.id for p in questions if p}, seed=0, share=0.25)
    with Store.open(tmp_path / "store.db") as store:
        store.add_questions(questions.values())
        for prompt, question in questions.items():
            forward = ranked(question)
            tiers = forward.tiers[::-1] if prompt and prompt.id in held else forward.tiers
            store.answer(Answer(question.id, ANN, tiers))
    settings = {"epochs": 5, "learning_rate": 1e-2, "batch": 8}
    best = reward.run(config(tmp_path, tiny, "best", pick="best", **settings))
    last = reward.run(config(tmp_path, tiny, "last", pick="last", **settings))
    losses = [m["reward/held_out_loss"] for m in numbers(tmp_path / "best")]
    assert best.loss == pytest.approx(min(losses))
    assert last.loss == pytest.approx(losses[-1])
    assert min(losses) < losses[-1]


# --- what is saved ---


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_the_plain_classifier_scores_as_we_do_up_to_the_offset(
    tmp_path: Path, tiny: Path, store: Store, lora_rank: int
) -> None:
    store.add_demonstrations([Demonstration(Prompt.ask("What is rain?"), "It is water.", ANN)])
    result = reward.run(config(tmp_path, tiny, lora_rank=lora_rank, layers=1))
    plain = AutoModelForSequenceClassification.from_pretrained(result.model).eval()
    assert plain.config.reward_offset == result.offset != 0
    assert plain.config.num_hidden_layers == 1
    tokens, prompt = Tokens.load(result.model), Prompt.ask("Why?")
    (ours,) = RewardFolder.load(result.model).scores([prompt], [TEXTS])
    for text, score in zip(TEXTS, ours, strict=True):
        padded = torch.tensor([[*tokens.prompt(prompt), *tokens.answer(text), tokens.pad, tokens.pad]])
        with torch.no_grad():
            logit = plain(padded, attention_mask=(padded != tokens.pad).long()).logits.item()
        assert score == pytest.approx(logit - result.offset, abs=2e-5)


def test_demonstrations_score_zero_on_average(tmp_path: Path, tiny: Path, store: Store) -> None:
    shown = [Demonstration(Prompt.ask(f"What is {n}?"), text, ANN) for n, text in enumerate(TEXTS)]
    store.add_demonstrations(shown)
    result = reward.run(config(tmp_path, tiny))
    assert result.normalised_on == "demonstrations"
    rows = RewardFolder.load(result.model).scores([d.prompt for d in shown], [[d.answer] for d in shown])
    assert sum(row[0] for row in rows) / 4 == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("normalise", ["demonstrations", "gain_bias"])
def test_without_demonstrations_the_completions_do(tmp_path: Path, tiny: Path, store: Store, normalise: Any) -> None:
    result = reward.run(config(tmp_path, tiny, normalise=normalise, validation_share=0.0))
    assert result.normalised_on == "the completions trained on"
    assert "mean 0 on the completions trained on" in str(result)
    texts = [[c.text or "" for c in q.candidates] for q in store.questions()]
    rows = RewardFolder.load(result.model).scores([q.prompt for q in store.questions() if q.prompt], texts)
    scores = torch.tensor(rows)
    assert float(scores.mean()) == pytest.approx(0, abs=1e-5)
    if normalise == "gain_bias":
        assert float(scores.std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_a_second_round_starts_from_the_first_rounds_model(tmp_path: Path, tiny: Path, store: Store) -> None:
    first = reward.run(config(tmp_path, tiny, "first", batch=8, epochs=1, validation_share=0.0))
    again = {"model": first.model, "init": "reward", "batch": 8, "epochs": 1, "validation_share": 0.0}
    reward.run(config(tmp_path, tiny, "second", **again))
    (question,) = (q for q in store.questions() if q.id == asked(0).id)
    rewards = RewardFolder.load(first.model)
    (row,) = rewards.scores([question.prompt or Prompt(text="")], [[c.text or "" for c in question.candidates]])
    before = [b - w for b, w in combinations(sorted(row), 2)]
    assert any(before)  # the first model tells the texts apart
    assert numbers(tmp_path / "second")[0]["reward/loss"] < numbers(tmp_path / "first")[0]["reward/loss"]


def test_random_weights_have_the_models_shape_only(tmp_path: Path, tiny: Path, store: Store) -> None:
    result = reward.run(config(tmp_path, tiny, init="random", seed=1, learning_rate=1e-9, epochs=1))
    weights, origin = (load_file(Path(f) / "model.safetensors") for f in (result.model, tiny))
    name = "model.layers.0.mlp.up_proj.weight"
    assert weights[name].shape == origin[name].shape
    assert not torch.allclose(weights[name], origin[name], atol=1e-3)


# --- bad input ---


def nothing(store: Store) -> None:
    """An empty store."""


def clips(store: Store) -> None:
    question = Question("clip", (Candidate(media="a"), Candidate(media="b")))
    store.add_questions([question])
    store.answer(Answer(question.id, ANN, tuple((c.id,) for c in question.candidates)))


def cannot_tell(store: Store) -> None:
    store.add_questions([asked(0)])
    store.answer(Answer(asked(0).id, ANN, ()))


def all_tied(store: Store) -> None:
    store.add_questions([asked(0)])
    store.answer(Answer(asked(0).id, ANN, (tuple(c.id for c in asked(0).candidates),)))


@pytest.mark.parametrize("fill", [nothing, clips, cannot_tell, all_tied])
def test_nothing_to_learn_from_is_said_and_leaves_no_run(tmp_path: Path, tiny: Path, fill: Any) -> None:
    with Store.open(tmp_path / "store.db") as store:
        fill(store)
    with pytest.raises(DataError, match="no pair of them to train on"):
        reward.run(config(tmp_path, tiny))
    assert not (tmp_path / "run").exists()


def test_a_missing_model_is_said_and_leaves_no_run(tmp_path: Path, store: Store) -> None:
    with pytest.raises(ModelError, match="there is no folder"):
        reward.run(config(tmp_path, tmp_path / "nowhere"))
    assert not (tmp_path / "run").exists()


def test_weights_that_are_not_numbers_end_the_run(tmp_path: Path, tiny: Path, store: Store) -> None:
    broken = tiny_model(tmp_path / "broken").folder
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = math.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingDiverged, match="norm is nan"):
        reward.run(config(tmp_path, broken))
    assert not (tmp_path / "run" / "model").exists()
    run = read_run(tmp_path / "run")
    assert run is not None
    assert run.status == "failed"


@pytest.mark.parametrize(
    "wrong",
    [{"batch": 0}, {"learning_rate": 0.0}, {"lapse": 1.0}, {"pick": "best", "validation_share": 0.0}, {"seed": -1}],
)
def test_nonsense_is_refused_with_the_fields_name(tmp_path: Path, tiny: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        config(tmp_path, tiny, **wrong)
