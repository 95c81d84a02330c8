"""Text in, score out: reward folders, Python functions, and weighted sums."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from backflip.errors import ConfigError, DataError, ModelError, TrainingDiverged
from backflip.lm.backbone import load_causal, load_tokenizer
from backflip.lm.heads import Scalar
from backflip.lm.rewards import MAX_LENGTH, PythonReward, RewardFolder, load_reward, reward_tree, weighted
from backflip.lm.tokens import Tokens
from backflip.records import Prompt

PROMPTS = [Prompt.ask("Why is the sky blue?"), Prompt(text="The moon"), Prompt.ask("Tell me about rain.")]
ANSWERS = [["It is the sun.", "No.", "Rain and sun and clouds."], ["is a ball of rock"], []]
ENDED = [[True, False, True], [False], []]


def by_length(prompt: Prompt, text: str, ended: bool) -> float:
    return len(text) + (0.5 if ended else 0.0)


def broken(prompt: Prompt, text: str, ended: bool) -> float:
    return math.nan if prompt.text else 1.0


NOT_A_FUNCTION = 3


@pytest.fixture(scope="module")
def reward_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model with a fresh head, offset 0.25, that reads at most 40 tokens."""
    model = Scalar.on_trunk(load_causal(tiny_folder)[0], load_tokenizer(tiny_folder), seed=3)
    model.reward_offset = 0.25
    setattr(model.backbone.config, MAX_LENGTH, 40)
    folder = tmp_path_factory.mktemp("reward") / "model"
    folder.mkdir()
    model.save(folder)
    return folder


@pytest.mark.parametrize("budget", [1, 64, 4096])
def test_scores_are_those_of_the_plain_classifier(reward_folder: Path, budget: int) -> None:
    """Each text alone, in full, through Transformers' own class; less the offset."""
    rewards, tokens = RewardFolder.load(reward_folder, batch_tokens=budget), Tokens.load(reward_folder)
    plain = AutoModelForSequenceClassification.from_pretrained(reward_folder).eval()
    scores = rewards.scores(PROMPTS, ANSWERS, ENDED)
    assert [len(row) for row in scores] == [3, 1, 0]
    for prompt, texts, ends, row in zip(PROMPTS, ANSWERS, ENDED, scores, strict=True):
        for k, tree in enumerate([reward_tree(tokens, prompt, texts, ends, max_length=40)] * len(texts)):
            with torch.no_grad():
                logit = plain(input_ids=torch.tensor([tree.prompt + tree.responses[k]])).logits.item()
            assert row[k] == pytest.approx(logit - plain.config.reward_offset, abs=2e-5)


def test_a_long_prompt_loses_its_beginning_as_in_training(reward_folder: Path) -> None:
    rewards = RewardFolder.load(reward_folder)
    assert rewards.max_length == 40
    long, longer = (Prompt(text="rain " * n + "the moon is a ball of rock " * 9) for n in (20, 60))
    assert rewards.scores([long], [["It is."]]) == rewards.scores([longer], [["It is."]])


def test_whether_an_answer_ended_is_read(reward_folder: Path) -> None:
    rewards = RewardFolder.load(reward_folder)
    (cut,) = rewards.scores(PROMPTS[:1], [["No."]], [[False]])
    (ended,) = rewards.scores(PROMPTS[:1], [["No."]])
    assert cut != ended


def test_an_answer_without_tokens_reads_as_its_end(tiny_folder: Path) -> None:
    tokens = Tokens.load(tiny_folder)
    assert reward_tree(tokens, PROMPTS[0], ["", ""], [False, True]).responses == ((tokens.eos,), (tokens.eos,))


def test_a_function_by_its_name() -> None:
    reward = load_reward(f"python:{__name__}:by_length")
    assert reward.scores(PROMPTS, ANSWERS, ENDED) == [[14.5, 3.0, 24.5], [17.0], []]
    assert reward.scores(PROMPTS[:1], [["abc"]]) == [[3.5]]  # answers ended unless it is said otherwise


def test_weighted_sums_by_hand(reward_folder: Path) -> None:
    both = weighted([(str(reward_folder), 2.0), (f"python:{__name__}:by_length", -0.1)])
    model = RewardFolder.load(reward_folder).scores(PROMPTS, ANSWERS, ENDED)
    wanted = [
        [2 * m - 0.1 * by_length(PROMPTS[0], t, e) for m, t, e in zip(*rows, strict=True)]
        for rows in zip(model, ANSWERS, ENDED, strict=True)
    ]
    assert both.scores(PROMPTS, ANSWERS, ENDED) == [pytest.approx(row) for row in wanted]


@pytest.mark.parametrize("spec", ["", "math", "nowhere.at.all:f", f"{__name__}:missing", f"{__name__}:NOT_A_FUNCTION"])
def test_a_spec_without_a_function_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="a function"):
        load_reward(f"python:{spec}")


def test_a_folder_that_is_no_reward_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        load_reward(str(tmp_path / "nothing"))


@pytest.mark.parametrize("specs", [[], [("python:m:f", math.nan)]])
def test_weights_must_be_numbers(specs: list[tuple[str, float]]) -> None:
    with pytest.raises(ConfigError, match="finite weights"):
        weighted(specs)


def test_a_score_that_is_not_finite_names_the_prompt(reward_folder: Path) -> None:
    with pytest.raises(TrainingDiverged, match=f"prompt {PROMPTS[1].id[:12]} with nan"):
        PythonReward(broken).scores(PROMPTS, ANSWERS)
    rewards = RewardFolder.load(reward_folder)
    rewards.model.head.weight.data.fill_(math.inf)
    with pytest.raises(TrainingDiverged, match=PROMPTS[0].id[:12]):
        rewards.scores(PROMPTS, ANSWERS)


def test_lists_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="3 prompts with"):
        PythonReward(by_length).scores(PROMPTS, ANSWERS[:2])
    with pytest.raises(DataError, match="3 prompts with"):
        PythonReward(by_length).scores(PROMPTS, ANSWERS, [[True], [True], []])
