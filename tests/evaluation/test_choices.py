"""Options scored as branches of one tree, against one forward pass of plain Transformers an option."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from backflip.errors import CheckpointError
from backflip.evaluation.choices import Choice, answered_choices, continued, opened, option_logprobs, option_scores
from backflip.lm.heads import Causal
from backflip.lm.tokens import Tokens

PROMPTS = ["Q: Why is the sky blue?\nA:", "Q: Why does it rain?\nA:", "Q: What is the moon?\nA:"]
OPTIONS = [
    [" It is blue.", " Rain"],
    [" Water falls from the clouds."],
    [" A big ball", " of rock", " cheese and more"],
]


@torch.no_grad()
def slow(folder: Path, prompt: tuple[int, ...], option: tuple[int, ...]) -> tuple[float, bool]:
    """The published way: a whole text at a time, the log-softmax of every position."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    logits = model(torch.tensor([prompt + option])).logits[0].double()
    rows = logits[len(prompt) - 1 : -1]
    targets = torch.tensor(option)
    total = rows.log_softmax(-1)[torch.arange(len(option)), targets].sum()
    return float(total), bool((rows.argmax(-1) == targets).all())


def test_equal_to_the_slow_way_with_a_shared_opening(tiny: Causal, tiny_folder: Path) -> None:
    tokens = Tokens(tiny.tokenizer)
    choices = [continued(tokens, p, p, o) for p, o in zip(PROMPTS, OPTIONS, strict=True)]
    assert choices[0].prompt[:3] == choices[1].prompt[:3]  # so that there is something to share
    greedy = Choice("greedy", choices[0].prompt, (_greedy(tiny_folder, choices[0].prompt),))
    for batch in (40, 4096):
        rows = option_scores(tiny, [*choices, greedy], batch_tokens=batch, greedy=True)
        for choice, row in zip([*choices, greedy], rows, strict=True):
            wanted = [slow(tiny_folder, choice.prompt, option) for option in choice.options]
            assert [total for total, _ in row] == pytest.approx([total for total, _ in wanted], abs=1e-4)
            assert [hit for _, hit in row] == [hit for _, hit in wanted]
    assert rows[-1][0][1], "the greedy continuation is what greedy decoding writes"


def _greedy(folder: Path, prompt: tuple[int, ...]) -> tuple[int, ...]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = list(prompt)
    for _ in range(3):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return tuple(ids[len(prompt) :])


def test_a_text_after_nothing_starts_at_bos(tiny: Causal, tiny_folder: Path) -> None:
    tokens = Tokens(tiny.tokenizer)
    choice = continued(tokens, "a", "", ["The moon is big.", "It rains."])
    assert choice.prompt == (tiny.tokenizer.bos_token_id,)
    assert choice.options[0] == tokens.text("The moon is big.")
    assert option_logprobs(tiny, [choice])[0][0] == pytest.approx(slow(tiny_folder, *_both(choice, 0))[0], abs=1e-4)


def _both(choice: Choice, k: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return choice.prompt, choice.options[k]


def test_prompt_and_option_are_tokenised_together(tiny: Causal) -> None:
    """The moon is one merge in the tiny tokenizer: cutting a word must not cut its token."""
    tokens = Tokens(tiny.tokenizer)
    choice = continued(tokens, "a", "Tell me about the mo", ["on", "uth"])
    for option, text in zip(choice.options, ("on", "uth"), strict=True):
        assert choice.prompt + option == opened(tokens, f"Tell me about the mo{text}")


def test_resumes_by_question_and_refuses_other_weights(tiny: Causal, tmp_path: Path) -> None:
    tokens, path = Tokens(tiny.tokenizer), tmp_path / "answers" / "a.jsonl"
    choices = [continued(tokens, p, p, o) for p, o in zip(PROMPTS, OPTIONS, strict=True)]
    first = answered_choices(path, choices[:2], model=tiny, name="w", batch_tokens=4096, label="a")
    with path.open("a") as file:
        file.write('{"key": "torn')  # as a kill leaves it
    lines = path.read_text().count("\n")
    both = answered_choices(path, choices, model=tiny, name="w", batch_tokens=4096, label="a")
    assert both[:2] == first
    assert path.read_text().count("\n") == lines + 1
    with pytest.raises(CheckpointError, match="other work"):
        answered_choices(path, choices, model=tiny, name="other", batch_tokens=4096, label="a")
    path.write_text("no json\n")
    with pytest.raises(CheckpointError, match="cannot be read"):
        answered_choices(path, choices, model=tiny, name="w", batch_tokens=4096, label="a")
