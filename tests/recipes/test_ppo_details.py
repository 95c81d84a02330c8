"""The details that decide whether PPO on text works, one by one; test_ppo_step.py has the arithmetic."""

from __future__ import annotations

import gc
import json
import math
import shutil
import weakref
from pathlib import Path

import pytest
import torch
from ppo_kit import LORA, Kit, count_e, make_kit, steady, weights
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from backflip.lm.backbone import load_causal, load_tokenizer
from backflip.lm.heads import Causal
from backflip.lm.rewards import RewardFolder, weighted
from backflip.recipes.ppo import KL, Adapter, Ptx, Rates, Scores, Value
from backflip.recipes.ppo.algorithm import Rollout, learn, rollout
from backflip.recipes.ppo.frozen import Frozen
from backflip.records import Prompt


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return make_kit(tmp_path_factory.mktemp("ppo_details"))


# --- detail 15: the first ratio is 1, the first KL 0


@pytest.mark.parametrize("adapter", [Adapter(), LORA])
@pytest.mark.parametrize("rescore", [True, False])
def test_the_first_ratio_is_one(kit: Kit, adapter: Adapter, rescore: bool) -> None:
    # One minibatch an update, so that policy/approx_kl is the first minibatch's.
    config = kit.config(adapter=adapter, rescore=rescore, minibatch=8, tokens_per_pass=100)
    trainer = kit.trainer(config)
    for update in range(3):
        trainer.update = update
        episodes = rollout(trainer, kit.prompts())
        metrics = learn(trainer, episodes)
        # Full weights: the same products in other packings. LoRA: sampled with merged weights, trained with adapters.
        assert metrics["policy/first_ratio_gap"] < (1e-5 if rescore else 1e-4)
        assert metrics["policy/approx_kl"] < (1e-11 if rescore else 1e-9)
        if update == 0:
            assert abs(episodes.metrics["objective/kl"]) <= (0 if rescore else 1e-4)
    assert abs(rollout(trainer, kit.prompts()).metrics["objective/kl"]) > 1e-4  # it has moved


def test_dropout_is_off_whatever_the_model_says(kit: Kit, tmp_path: Path) -> None:
    # Detail 10. Attention dropout of a half, left on by a sampler that goes back to training mode, would move ratios.
    folder = tmp_path / "dropout"
    shutil.copytree(kit.model, folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"attention_dropout": 0.5}))
    trainer = kit.trainer(kit.config(policy=folder, rescore=True))
    assert learn(trainer, rollout(trainer, kit.prompts()))["policy/first_ratio_gap"] < 1e-5


# --- detail 16: padding enters nothing


class OtherPad:
    """A tokenizer that pads with another token."""

    def __init__(self, tokens: object, pad: int) -> None:
        self.__dict__ |= vars(tokens)
        self._tokens, self.pad = tokens, pad

    def __getattr__(self, name: str) -> object:
        return getattr(self._tokens, name)


def test_what_padding_holds_changes_nothing(kit: Kit) -> None:
    results = []
    for pad in (0, 77):
        trainer = kit.trainer(kit.config(scores=Scores(whiten=True), inner_epochs=2))
        trainer.tokens = OtherPad(trainer.tokens, pad)  # type: ignore[assignment]
        episodes = rollout(trainer, kit.prompts())
        results.append((steady(episodes.metrics | learn(trainer, episodes)), weights(trainer)))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(results[0][1][name], value) for name, value in results[1][1].items())


def test_how_wide_padding_is_changes_nothing(kit: Kit) -> None:
    results = []
    for extra in (0, 5):
        trainer = kit.trainer(kit.config(inner_epochs=2))
        episodes = widened(rollout(trainer, kit.prompts()), extra)
        results.append((steady(learn(trainer, episodes)), weights(trainer)))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(results[0][1][name], value) for name, value in results[1][1].items())


def widened(episodes: Rollout, extra: int) -> Rollout:
    """With columns of NaN on the right, none of them valid."""
    pad = torch.nn.functional.pad
    nan = {
        n: pad(getattr(episodes, n), (0, extra), value=math.nan)
        for n in ("logprobs", "values", "advantages", "returns")
    }
    return episodes._replace(mask=pad(episodes.mask, (0, extra), value=False), **nan)


def test_micro_batches_only_round_otherwise(kit: Kit) -> None:
    results = []
    for tokens in (30, 10_000):
        trainer = kit.trainer(kit.config(tokens_per_pass=tokens, batch=16, minibatch=16))
        episodes = rollout(trainer, kit.prompts())
        results.append(steady(episodes.metrics | learn(trainer, episodes)))
    assert results[0] == pytest.approx(results[1], rel=1e-4, abs=1e-6)


# --- details 1, 2, 8: the reward


def test_the_score_stands_at_the_last_token_and_a_cut_answer_gets_the_fixed_one(kit: Kit) -> None:
    # beta 0 and lambda 1: an episode's return is its score at every token, and 0 beyond the last.
    config = kit.config(batch=16, kl=KL(beta=0.0), lam=1.0, scores=Scores(no_eos=-2.0))
    trainer = kit.trainer(config, lambda *_: 3.0)
    episodes = rollout(trainer, kit.prompts())
    responses = [response for tree in episodes.trees for response in tree.responses]
    ended = [response[-1] == trainer.tokens.eos for response in responses]
    assert 0 < sum(ended) < len(ended)
    for row, (response, end) in enumerate(zip(responses, ended, strict=True)):
        expected = [3.0 if end else -2.0] * len(response) + [0.0] * (episodes.mask.shape[1] - len(response))
        torch.testing.assert_close(episodes.returns[row], torch.tensor(expected), rtol=0, atol=1e-5)
        assert episodes.mask[row].sum() == len(response)
    share = sum(ended) / len(ended)
    assert episodes.metrics["objective/score"] == pytest.approx(3 * share - 2 * (1 - share))
    assert episodes.metrics["objective/raw_score"] == 3
    assert episodes.metrics["tokens/eos_share"] == share


def test_without_a_fixed_score_a_cut_answer_keeps_its_own(kit: Kit) -> None:
    trainer = kit.trainer(kit.config(scores=Scores(no_eos=None)), lambda *_: 3.0)
    assert rollout(trainer, kit.prompts()).metrics["objective/score"] == 3


def test_beta_adapts_after_the_update(kit: Kit) -> None:
    # At update 0 KL is 0, far below the target: beta * (1 - 0.2 * 8 / 100) = 0.1 * 0.984.
    trainer = kit.trainer(kit.config(kl=KL(beta=0.1, target=5.0, horizon=100)))
    episodes = rollout(trainer, kit.prompts())
    assert episodes.metrics["objective/beta"] == 0.1
    learn(trainer, episodes)
    assert trainer.beta == pytest.approx(0.0984)
    # A KL of twice the target: + 0.2 * 8 / 100, whatever the excess beyond a fifth.
    learn(trainer, episodes._replace(metrics=episodes.metrics | {"objective/kl": 10.0}))
    assert trainer.beta == pytest.approx(0.0984 * 1.016)


def test_scores_are_normalised_by_running_moments(kit: Kit) -> None:
    given = iter(range(1000))
    trainer = kit.trainer(kit.config(scores=Scores(normalise=True, no_eos=None)), lambda *_: float(next(given)))
    first = rollout(trainer, kit.prompts()).metrics  # 0..7: mean 3.5
    assert first["objective/raw_score"] == 3.5
    assert first["objective/score"] == pytest.approx(0, abs=1e-6)
    second = rollout(trainer, kit.prompts()).metrics  # 8..15 among 0..15: mean 11.5 of mean 7.5, variance 21.25
    assert second["objective/score"] == pytest.approx(4 / math.sqrt(21.25), abs=1e-5)


# --- details 13, 14, 17


@pytest.mark.parametrize(
    ("schedule", "rates"), [("constant", [0.1, 0.19, 0.28, 0.37]), ("linear", [1.0, 0.75, 0.5, 0.25])]
)
def test_rates_follow_their_schedules(kit: Kit, schedule: str, rates: list[float]) -> None:
    trainer = kit.trainer(kit.config(rates=Rates(policy=1e-3, value=3e-3, schedule=schedule), updates=4))
    episodes = rollout(trainer, kit.prompts())
    for update, rate in enumerate(rates):
        trainer.update = update
        assert learn(trainer, episodes)["policy/learning_rate"] == pytest.approx(1e-3 * rate)
        assert trainer.policy_optimiser.param_groups[0]["lr"] == pytest.approx(1e-3 * rate)
        assert trainer.value_optimiser.param_groups[0]["lr"] == pytest.approx(3e-3 * rate)


def test_adam_is_as_the_papers_say(kit: Kit) -> None:
    trainer = kit.trainer(kit.config())
    for optimiser in (trainer.policy_optimiser, trainer.value_optimiser):
        group = optimiser.param_groups[0]
        assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.95), 1e-5, 0)


@pytest.mark.parametrize("adapter", [Adapter(), LORA])
def test_value_warmup_leaves_the_policy_alone(kit: Kit, adapter: Adapter) -> None:
    config = kit.config(value=Value(warmup=1), adapter=adapter, ptx=Ptx(text=(kit.text,), examples=1, length=8))
    trainer = kit.trainer(config)
    before, head = weights(trainer), trainer.value.head.weight.detach().clone()
    learn(trainer, rollout(trainer, kit.prompts()))
    assert all(torch.equal(before[name], value) for name, value in weights(trainer).items())
    assert not torch.equal(head, trainer.value.head.weight)
    trainer.update = 1
    learn(trainer, rollout(trainer, kit.prompts()))
    assert not all(torch.equal(before[name], value) for name, value in weights(trainer).items())


# --- prompts and rewards


def test_a_dialogue_of_several_turns_is_a_prompt(kit: Kit) -> None:
    trainer = kit.trainer(kit.config(batch=10, minibatch=10))
    episodes = rollout(trainer, kit.prompts())  # five prompts, two samples each
    read = [trainer.tokens.tokenizer.decode(tree.prompt) for tree in episodes.trees]
    opening = "<|im_start|>user\nIs rain wet?<|im_end|>\n<|im_start|>assistant\nIt is.<|im_end|>\n"
    assert opening + "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n" in read
    assert "The moon is" in read  # and plain text goes in as it is


def test_prompts_are_visited_once_an_epoch(kit: Kit) -> None:
    trainer = kit.trainer(kit.config(batch=2, minibatch=2, samples=1))
    seen = []
    for update in range(5):
        trainer.update = update
        seen += [tree.prompt for tree in rollout(trainer, kit.prompts()).trees]
    assert len(set(seen[:5])) == len(set(seen[5:])) == 5


@pytest.fixture(scope="module")
def other_reward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random reward model with a tokenizer of its own: other tokens, other ids, an offset."""
    folder = tmp_path_factory.mktemp("reward") / "model"
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<end>", "<pad>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        ["rain rain sea moon"],
        trainers.BpeTrainer(vocab_size=264, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    template = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}[answer] "
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<end>",
        pad_token="<pad>",
        chat_template=template,
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=1,
        initializer_range=0.5,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        reward_offset=0.25,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_several_weighted_rewards_one_with_another_tokenizer(kit: Kit, other_reward: Path) -> None:
    reward = weighted(((str(other_reward), 0.5), ("python:ppo_kit:count_e", 2.0)))
    trainer = kit.trainer(kit.config(batch=10, minibatch=10), reward)
    episodes = rollout(trainer, kit.prompts())
    asked = {trainer.tokens.prompt(prompt): prompt for prompt in kit.prompts()}
    model = AutoModelForSequenceClassification.from_pretrained(other_reward)
    tokenizer = AutoTokenizer.from_pretrained(other_reward)
    expected = []
    for tree in episodes.trees:
        prompt = asked[tree.prompt]
        for response in tree.responses:
            ended = response[-1] == trainer.tokens.eos
            text = trainer.tokens.tokenizer.decode(response, skip_special_tokens=True).strip()
            expected.append(0.5 * plain_score(model, tokenizer, prompt, text, ended) + 2 * count_e(prompt, text, ended))
    assert episodes.metrics["objective/raw_score"] == pytest.approx(sum(expected) / len(expected), abs=1e-5)


def plain_score(model: torch.nn.Module, tokenizer: object, prompt: Prompt, text: str, ended: bool) -> float:
    """Transformers' own reading of one row."""
    turns = [{"role": m.role, "content": m.content} for m in prompt.messages]
    opening = tokenizer.apply_chat_template(turns, tokenize=False) if turns else prompt.text
    ids = [tokenizer(part, add_special_tokens=False).input_ids for part in (opening, text)]
    row = torch.tensor([[*ids[0], *ids[1], *([tokenizer.eos_token_id] if ended or not text else [])]])
    with torch.no_grad():
        return float(model(input_ids=row).logits[0, 0]) - 0.25


def test_the_value_net_may_start_from_a_reward_folder(kit: Kit, tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(kit.model, num_labels=1)
    torch.nn.init.constant_(model.score.weight, 0.1)
    model.save_pretrained(tmp_path / "reward")
    AutoTokenizer.from_pretrained(kit.model).save_pretrained(tmp_path / "reward")
    trainer = kit.trainer(kit.config(value=Value(start=tmp_path / "reward")), RewardFolder.load(tmp_path / "reward"))
    episodes = rollout(trainer, kit.prompts())
    tree = episodes.trees[0]
    with torch.no_grad():
        row = torch.tensor([[*tree.prompt, *tree.responses[0]]])
        states = model.model(input_ids=row).last_hidden_state[0]
        expected = model.score(states)[len(tree.prompt) - 1 : -1, 0]
    torch.testing.assert_close(episodes.values[0, : len(expected)], expected, rtol=1e-4, atol=1e-5)


def test_a_value_net_with_a_zero_head_says_nothing_at_first_and_learns(kit: Kit) -> None:
    trainer = kit.trainer(kit.config(value=Value(zero_head=True)))
    episodes = rollout(trainer, kit.prompts())
    assert not episodes.values.any()
    learn(trainer, episodes)
    assert rollout(trainer, kit.prompts()).values.any()


# --- frozen models that come and go


def test_frozen_models_may_be_loaded_for_each_use(kit: Kit, other_reward: Path) -> None:
    results = []
    for keep in (True, False):
        config = kit.config(reload_frozen=not keep, inner_epochs=2)
        trainer = kit.trainer(config)
        trainer.reward = Frozen(lambda: weighted(((str(other_reward), 1.0),)), keep=keep)
        found = []
        for update in range(2):
            trainer.update = update
            episodes = rollout(trainer, kit.prompts())
            found.append(steady(episodes.metrics | learn(trainer, episodes)))
        results.append((found, weights(trainer)))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(results[0][1][name], value) for name, value in results[1][1].items())


def test_a_frozen_model_is_gone_after_its_use(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[Causal]] = []

    def load() -> Causal:
        model = Causal(*load_causal(kit.model), load_tokenizer(kit.model))
        alive.append(weakref.ref(model))
        return model

    trainer = kit.trainer(kit.config(reload_frozen=True))
    trainer.reference = Frozen(load, keep=False)
    rollout(trainer, kit.prompts())
    gc.collect()
    assert len(alive) == 2  # once to see that it can be, once to use it
    assert [ref() for ref in alive] == [None, None]
    held = Frozen(load, keep=True)
    with held.use() as model:
        assert model is alive[-1]()
    assert alive[-1]() is not None
