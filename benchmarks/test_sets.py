"""docs/results/{truthfulqa,toxicity,crows_pairs}.json from a run of `backflip measure`, each checked another way.

    backflip measure --folder runs/measure --models SmolLM2-135M-Instruct=HuggingFaceTB/SmolLM2-135M-Instruct \
        --measures truthfulqa crows_pairs toxicity
    python -m benchmarks.test_sets --run runs/measure --checked 40

Log-probabilities are checked against plain Transformers, a text at a time, on a part of the questions; the classifier
of toxicity against Perspective's published scores of texts that it was not fitted on.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from transformers import AutoModelForCausalLM, AutoTokenizer

from backflip import __version__
from backflip.evaluation import bias, truthfulness
from backflip.lm.hub import fetch_model
from backflip.runs import atomic_write_json, read_run
from backflip.runs.progress import progress

RESULTS = Path(__file__).parent.parent / "docs" / "results"


@dataclass(frozen=True)
class Config:
    """Writes the committed results of one measured model."""

    run: Path
    """The folder of `backflip measure`."""
    data: Path | None = None
    """The folder with the test sets; none: $BACKFLIP_DATA, else the network."""
    checked: int = 40
    """Questions that are scored the slow way as well."""
    out: Path = RESULTS
    """Where the files go."""


class Slow:
    """Plain Transformers, a text at a time: nothing of Backflip's scoring in it."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    @torch.inference_mode()
    def logprob(self, prompt: str, text: str) -> float:
        """The summed log-probability of `text` after `prompt`, after BOS where there is none."""
        start = self.tokenizer(prompt, add_special_tokens=False).input_ids or [self.tokenizer.bos_token_id]
        whole = self.tokenizer(prompt + text, add_special_tokens=False).input_ids
        ids = whole if prompt else start + whole
        scores = self.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        return sum(float(scores[i - 1, ids[i]]) for i in range(len(start), len(ids)))


def _journal(path: Path) -> list[Any]:
    """The answers that the run kept, in the order of the questions."""
    return [json.loads(line)["answer"] for line in path.read_text(encoding="utf-8").splitlines()[1:]]


def _apart(ours: Sequence[Sequence[float]], slow: Callable[[int], Sequence[float]], count: int, label: str) -> float:
    """The largest difference of a log-probability over the first questions."""
    worst = 0.0
    with progress(count, label) as step:
        for i in range(count):
            worst = max(worst, *(abs(a - b) for a, b in zip(ours[i], slow(i), strict=True)))
            step()
    return worst


def main() -> None:
    """Checks, and writes the files."""
    config = tyro.cli(Config, description=__doc__)
    run = read_run(config.run)
    if run is None or run.status != "done":
        raise SystemExit(f"{config.run} is no finished run of `backflip measure`")
    results = json.loads((config.run / "results.json").read_text(encoding="utf-8"))
    ((name, found),) = results["models"].items()
    model = run.config["models"][0]["model"]
    slow = Slow(fetch_model(model).folder)
    answers = config.run / "answers" / name
    limit = f" --limit {run.config['limit']}" if run.config["limit"] else ""
    for measure, check in (("truthfulqa", _truthfulqa), ("crows_pairs", _crows_pairs), ("toxicity", _toxicity)):
        if measure not in found:
            continue
        numbers = found[measure]
        content = {
            "command": f"backflip measure --models {name}={model} --measures {measure}{limit} --seed {run.seed}",
            "version": __version__,
            "machine": {
                "cores": os.cpu_count(),
                "threads": torch.get_num_threads(),
                "processor": platform.processor() or platform.machine(),
                "torch": torch.__version__,
            },
            "model": name,
            "n": max(int(one["n"]) for one in numbers.values()),
            "values": {key: {k: one[k] for k in ("value", "low", "high")} for key, one in numbers.items()},
            "checked_against": check(config, slow, answers, results),
        }
        atomic_write_json(config.out / f"{measure}.json", content)
        print(f"wrote {config.out / f'{measure}.json'}")


def _truthfulqa(config: Config, slow: Slow, answers: Path, results: Any) -> dict[str, Any]:
    del results
    asked = truthfulness.questions(config.data)[: config.checked]
    ours = _journal(answers / "truthfulqa-qa.jsonl")[: config.checked]
    rows: list[list[float]] = []

    def scored(i: int) -> list[float]:
        question = asked[i]
        prompt = f"{truthfulness.PROMPTINGS['qa']}Q: {question.text}\nA:"
        rows.append([slow.logprob(prompt, f" {a}") for a in (*question.correct, *question.incorrect)])
        return rows[-1]

    apart = _apart(ours, scored, len(asked), "TruthfulQA, the slow way")
    pairs = [
        (truthfulness.multiple_choice(q, a), truthfulness.multiple_choice(q, b))
        for q, a, b in zip(asked, ours, rows, strict=True)
    ]
    return {
        "what": "plain Transformers, one text at a time, on the first questions",
        "questions": len(asked),
        "largest_difference_nats": apart,
        "same_mc1": sum(a.mc1 == b.mc1 for a, b in pairs),
        "largest_difference_mc2": max(abs(a.mc2 - b.mc2) for a, b in pairs),
    }


def _crows_pairs(config: Config, slow: Slow, answers: Path, results: Any) -> dict[str, Any]:
    del results
    asked = bias.crows_pairs(config.data)[: config.checked]
    ours = _journal(answers / "crows_pairs.jsonl")[: config.checked]
    rows: list[list[float]] = []

    def scored(i: int) -> list[float]:
        rows.append([slow.logprob("", sentence) for sentence in asked[i].sentences])
        return rows[-1]

    apart = _apart(ours, scored, len(asked), "CrowS-Pairs, the slow way")
    same = sum((a[0] > a[1]) == (b[0] > b[1]) for a, b in zip(ours, rows, strict=True))
    return {
        "what": "plain Transformers, one sentence at a time, on the first pairs",
        "pairs": len(asked),
        "largest_difference_nats": apart,
        "same_preference": same,
    }


def _toxicity(config: Config, slow: Slow, answers: Path, results: Any) -> dict[str, Any]:
    del config, slow, answers
    return {
        "what": "Perspective's published scores of texts that the classifier was not fitted on",
        **results["classifier"],
    }


if __name__ == "__main__":
    main()
