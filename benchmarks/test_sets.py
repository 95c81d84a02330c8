"""docs/results/MEASURE.json from a run of `backflip measure`, each checked another way.

    backflip measure --folder runs/measure --models SmolLM2-135M-Instruct=HuggingFaceTB/SmolLM2-135M-Instruct \
        --measures truthfulqa crows_pairs toxicity winogender hallucination
    python -m benchmarks.test_sets --run runs/measure

Log-probabilities are checked against plain Transformers, a text at a time, on a part of the questions, and written
answers against its greedy decoding; the classifier of toxicity against Perspective's published scores of texts that it
was not fitted on; the harness's numbers against what it gets of plain Transformers.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import tyro
from transformers import AutoModelForCausalLM, AutoTokenizer

from backflip import __version__
from backflip.evaluation import bias, chinese, hallucination, truthfulness
from backflip.evaluation.choices import opened
from backflip.lm.hub import fetch_model
from backflip.lm.tokens import Tokens
from backflip.records import Prompt
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
    checked: int = 100
    """Questions that are scored the slow way as well."""
    written: int = 8
    """Written answers that are decoded the slow way as well."""
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
        return self.of_ids(ids, len(start))

    @torch.inference_mode()
    def of_ids(self, ids: Sequence[int], start: int) -> float:
        """The summed log-probability of the tokens from `start` on."""
        scores = self.model(torch.tensor([ids])).logits[0, start - 1 : -1].log_softmax(-1)
        return float(scores.gather(1, torch.tensor(ids[start:])[:, None]).double().sum())

    @torch.inference_mode()
    def greedy(self, ids: Sequence[int], tokens: int) -> str:
        """What greedy decoding writes after `ids`."""
        wrote = self.model.generate(torch.tensor([ids]), max_new_tokens=tokens, do_sample=False, use_cache=True)
        text: str = self.tokenizer.decode(wrote[0, len(ids) :], skip_special_tokens=True)
        return text.strip()


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
    options = {"limit": run.config["limit"], "tasks": " ".join(run.config["tasks"]), "shots": run.config["shots"]}
    given = "".join(f" --{option} {value}" for option, value in options.items() if value)
    for measure, check in CHECKS.items():
        if measure not in found:
            continue
        numbers = found[measure]
        content = {
            "command": f"backflip measure --models {name}={model} --measures {measure}{given} --seed {run.seed}",
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
            "checked_against": check(Given(config, slow, answers, results, run.config)),
        }
        atomic_write_json(config.out / f"{measure}.json", content)
        print(f"wrote {config.out / f'{measure}.json'}")


@dataclass(frozen=True)
class Given:
    """What a check has: the slow model, the run's answers by question, its results and its configuration."""

    config: Config
    slow: Slow
    answers: Path
    results: Any
    asked: Any

    def ours(self, kind: str) -> list[Any]:
        """The answers that the run kept, in the order of the questions."""
        return _journal(self.answers / f"{kind}.jsonl")


def _truthfulqa(given: Given) -> dict[str, Any]:
    asked = truthfulness.questions(given.config.data)[: given.config.checked]
    ours = given.ours("truthfulqa-qa")[: len(asked)]
    rows: list[list[float]] = []

    def scored(i: int) -> list[float]:
        question = asked[i]
        prompt = f"{truthfulness.PROMPTINGS['qa']}Q: {question.text}\nA:"
        rows.append([given.slow.logprob(prompt, f" {a}") for a in (*question.correct, *question.incorrect)])
        return rows[-1]

    apart = _apart(ours, scored, len(asked), "TruthfulQA, the slow way")
    pairs = [
        (truthfulness.multiple_choice(q, a), truthfulness.multiple_choice(q, b))
        for q, a, b in zip(asked, ours, rows, strict=True)
    ]
    return {
        "what": "plain Transformers, one text at a time, on the first questions, with six examples",
        "questions": len(asked),
        "largest_difference_nats": apart,
        "same_mc1": sum(a.mc1 == b.mc1 for a, b in pairs),
        "largest_difference_mc2": max(abs(a.mc2 - b.mc2) for a, b in pairs),
    }


def _crows_pairs(given: Given) -> dict[str, Any]:
    asked = bias.crows_pairs(given.config.data)[: given.config.checked]
    return _sentences(given, "crows_pairs", [one.sentences for one in asked])


def _winogender(given: Given) -> dict[str, Any]:
    asked = bias.winogender(given.config.data)[: given.config.checked]
    return _sentences(given, "winogender", [one.sentences for one in asked])


def _sentences(given: Given, kind: str, asked: Sequence[Sequence[str]]) -> dict[str, Any]:
    ours = given.ours(kind)[: len(asked)]
    rows: list[list[float]] = []

    def scored(i: int) -> list[float]:
        rows.append([given.slow.logprob("", sentence) for sentence in asked[i]])
        return rows[-1]

    apart = _apart(ours, scored, len(asked), f"{kind}, the slow way")
    return {
        "what": "plain Transformers, one sentence at a time, on the first questions",
        "questions": len(asked),
        "largest_difference_nats": apart,
        "same_preference": sum(a.index(max(a)) == b.index(max(b)) for a, b in zip(ours, rows, strict=True)),
    }


def _safetybench(given: Given) -> dict[str, Any]:
    asked = chinese.safetybench(given.config.data, given.asked["limit"])[: given.config.checked]
    choices = chinese.safetybench_choices(Tokens(given.slow.tokenizer), asked)
    ours = given.ours("safetybench")[: len(asked)]
    rows: list[list[float]] = []

    def scored(i: int) -> list[float]:
        one = choices[i]
        rows.append([given.slow.of_ids([*one.prompt, *option], len(one.prompt)) for option in one.options])
        return rows[-1]

    apart = _apart(ours, scored, len(asked), "SafetyBench, the slow way")
    return {
        "what": "plain Transformers, one option at a time, on the first questions of each category in turn",
        "questions": len(asked),
        "largest_difference_nats": apart,
        "same_choice": sum(a.index(max(a)) == b.index(max(b)) for a, b in zip(ours, rows, strict=True)),
    }


def _written(given: Given, kind: str, prompts: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Our greedy answers and those of plain Transformers, word for word."""
    same = 0
    ours = given.ours(kind)[: given.config.written]
    with progress(len(ours), f"{kind}, the slow way") as step:
        for (text,), prompt in zip(ours, prompts, strict=False):
            same += text.strip() == given.slow.greedy(prompt, given.asked["answer_tokens"])
            step()
    return {"what": "greedy decoding by plain Transformers of the first answers", "answers": len(ours), "same": same}


def _truthfulqa_written(given: Given) -> dict[str, Any]:
    tokens, opening = Tokens(given.slow.tokenizer), truthfulness.PROMPTINGS["qa"]
    asked = truthfulness.questions(given.config.data)[: given.config.written]
    prompts = [opened(tokens, f"{opening}Q: {q.text}\nA:") for q in asked]
    found = _written(given, "truthfulqa-written-qa", prompts)
    return found | _agreement(given, "true", "informative")


def _hallucination(given: Given) -> dict[str, Any]:
    tokens = Tokens(given.slow.tokenizer)
    asked = hallucination.closed_questions(given.config.data, given.asked["limit"])[: given.config.written]
    return _written(given, "hallucination", [opened(tokens, q.prompt) for q in asked])


def _cvalues(given: Given) -> dict[str, Any]:
    tokens = Tokens(given.slow.tokenizer)
    asked = chinese.cvalues(given.config.data)[: given.config.written]
    return _written(given, "cvalues", [tokens.opening(Prompt.ask(one.text)) for one in asked])


def _agreement(given: Given, *names: str) -> dict[str, Any]:
    """Rank correlations of this measure's rule with the scores of InstructGPT's published outputs, if measured."""
    found = given.results["published"].get("agreement", {})
    return {f"rank_correlation_{n}": found[f"rank_correlation/{n}"]["value"] for n in names if found}


def _toxicity(given: Given) -> dict[str, Any]:
    return {
        "what": "Perspective's published scores of texts that the classifier was not fitted on",
        **given.results["classifier"],
    }


def _harness(given: Given) -> dict[str, Any]:
    """The same tasks, which the harness asks of plain Transformers, a text at a time."""
    from lm_eval import evaluator
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    slow = given.slow

    class Plain(LM):  # type: ignore[misc, unused-ignore]
        """Log-probabilities alone."""

        def loglikelihood(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
            return [(slow.logprob(*request.args), False) for request in requests]

        def loglikelihood_rolling(self, requests: list[Any], **_: Any) -> list[float]:
            return [slow.logprob("", request.args[0]) for request in requests]

        def generate_until(self, requests: list[Any], **_: Any) -> list[str]:
            raise NotImplementedError

    folder = given.asked["task_folder"]
    found = evaluator.simple_evaluate(
        Plain(),
        tasks=list(given.asked["tasks"]),
        limit=given.asked["limit"],
        num_fewshot=given.asked["shots"],
        bootstrap_iters=0,
        task_manager=TaskManager(include_path=folder, include_defaults=False) if folder else TaskManager(),
    )
    values = {
        f"{task}/{name.removesuffix(',none')}": value
        for task, metrics in found["results"].items()
        for name, value in metrics.items()
        if isinstance(value, float) and "stderr" not in name
    }
    return {"what": "the same questions, which the harness asks of plain Transformers", "values": values}


CHECKS: Mapping[str, Callable[[Given], dict[str, Any]]] = MappingProxyType(
    {
        "truthfulqa": _truthfulqa,
        "crows_pairs": _crows_pairs,
        "toxicity": _toxicity,
        "winogender": _winogender,
        "safetybench": _safetybench,
        "truthfulqa_written": _truthfulqa_written,
        "hallucination": _hallucination,
        "cvalues": _cvalues,
        "harness": _harness,
    }
)


if __name__ == "__main__":
    main()
