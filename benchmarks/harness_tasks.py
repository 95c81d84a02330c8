"""Two tasks for lm-evaluation-harness made from local files: nothing is downloaded when they are asked.

    python -m benchmarks.harness_tasks --folder runs/tasks          # from BACKFLIP_DATA
    backflip measure --folder runs/harness --measures harness --tasks truth_pairs wikitext_paragraphs \
        --task-folder runs/tasks --limit 200 --models SmolLM2-135M-Instruct=HuggingFaceTB/SmolLM2-135M-Instruct
    python -m benchmarks.test_sets --run runs/harness

`truth_pairs`: TruthfulQA's best answer against its first incorrect one, by log-probability, without examples.
`wikitext_paragraphs`: perplexity of WikiText-2's test paragraphs: what a model has forgotten shows here.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro

from backflip.evaluation import truthfulness
from backflip.evaluation.sources import data_folder

__all__ = ["Config", "main"]

PAIRS = """task: truth_pairs
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: multiple_choice
doc_to_text: "Q: {{question}}\\nA:"
doc_to_choice: "{{choices}}"
doc_to_target: 0
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
PARAGRAPHS = """task: wikitext_paragraphs
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
"""
_WORDS = (60, 200)  # of a paragraph: neither headings nor what fills a context


@dataclass(frozen=True)
class Config:
    """Writes the task files and their data."""

    folder: Path
    """Where they go."""


def main() -> None:
    """Reads the sets, writes the tasks."""
    config = tyro.cli(Config, description=__doc__)
    config.folder.mkdir(parents=True, exist_ok=True)
    for name, task, rows in (("truth_pairs", PAIRS, _pairs()), ("wikitext_paragraphs", PARAGRAPHS, _paragraphs())):
        data = (config.folder / f"{name}.jsonl").absolute()
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        (config.folder / f"{name}.yaml").write_text(task.replace("FILE", str(data)), encoding="utf-8")


def _pairs() -> Iterator[dict[str, object]]:
    for one in truthfulness.questions(None):
        yield {"question": one.text, "choices": [one.best, one.incorrect[0]]}


def _paragraphs() -> Iterator[dict[str, object]]:
    with gzip.open(data_folder() / "text_wikitext2/test.txt.gz", "rt", encoding="utf-8") as file:
        for line in file:
            if _WORDS[0] <= len(line.split()) <= _WORDS[1]:
                yield {"text": line.strip()}


if __name__ == "__main__":
    main()
