"""lm-evaluation-harness asks our models: an offline task from local files, against a slow forward pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from backflip.errors import DataError
from backflip.evaluation.harness import require_known, run_tasks
from backflip.evaluation.measures import Sizes
from backflip.lm.heads import Causal

QUESTIONS = [
    {"question": "Why is the sky blue?", "choices": ["rain", "the sun", "a rock"], "answer": 1},
    {"question": "What is rain?", "choices": ["water from the clouds", "a ball"], "answer": 0},
    {"question": "What is the moon?", "choices": ["a plant", "a big ball of rock"], "answer": 1},
]
CHOICE = """task: local_choice
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: multiple_choice
doc_to_text: "Q: {{question}}\\nA:"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
WRITTEN = """task: local_written
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: generate_until
doc_to_text: "Q: {{question}}\\nA:"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 4}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    data = tmp_path / "questions.json"
    data.write_text("\n".join(map(json.dumps, QUESTIONS)))
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name, text in (("choice", CHOICE), ("written", WRITTEN)):
        (folder / f"{name}.yaml").write_text(text.replace("FILE", str(data)))
    return folder


@torch.no_grad()
def slow_accuracy(folder: Path, tiny: Causal) -> float:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    right = 0
    for row in QUESTIONS:
        prompt = tiny.tokenizer(f"Q: {row['question']}\nA:").input_ids
        totals = []
        for choice in row["choices"]:
            ids = tiny.tokenizer(f"Q: {row['question']}\nA: {choice}").input_ids
            scores = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            totals.append(sum(float(scores[i - 1, ids[i]]) for i in range(len(prompt), len(ids))))
        right += totals.index(max(totals)) == row["answer"]
    return right / len(QUESTIONS)


def test_offline_tasks(tasks: Path, tiny: Causal, tiny_folder: Path) -> None:
    found = run_tasks(tiny, ["local_choice", "local_written"], folder=tasks, sizes=Sizes(rows=4))
    accuracy = found["local_choice/acc"]
    assert accuracy.value == pytest.approx(slow_accuracy(tiny_folder, tiny))
    assert accuracy.n == 3
    assert accuracy.low <= accuracy.value <= accuracy.high
    assert found["local_written/exact_match"].value == 0.0


def test_an_unknown_task_is_refused() -> None:
    require_known(["a"], ["a", "b"])
    with pytest.raises(DataError, match="no task nonsense"):
        require_known(["a", "nonsense"], ["a"])
