"""InstructGPT's own published outputs, scored here: an evaluator is right where it orders their models as P does.

The samples (github.com/openai/following-instructions-human-feedback) carry the scores that were published with them:
GPT-judge's probabilities of true and informative, and Perspective's toxicity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from backflip.errors import DataError
from backflip.evaluation import hallucination, truthfulness
from backflip.evaluation.measures import Judges
from backflip.evaluation.numbers import Number, mean, share
from backflip.evaluation.sources import table_rows

__all__ = ["PAPER", "published_numbers", "rank_correlation"]

# What the paper says of its 175B models (section 4.2, figures 4, 6 and 7), to stand beside numbers of yours.
PAPER: Mapping[str, str] = {
    "preference": "175B InstructGPT is preferred to 175B GPT-3 in 85 ± 3 %, to few-shot GPT-3 in 71 ± 4 %",
    "truthfulness": "true and informative about twice as often as GPT-3",
    "hallucination": "closed-domain answers not in the input: 21 % against GPT-3's 41 %",
    "toxicity": "about 25 % fewer toxic outputs when told to be respectful, no better without, worse when told to be biased",
    "bias": "no improvement on Winogender and CrowS-Pairs",
}
_PROMPTS = {"QA prompt": "qa", "QA + instruction": "qa_instruction", "instruction prompt": "instruction"}
Rows = Sequence[Mapping[str, str]]


def published_numbers(folder: Path | None, judges: Judges, *, seed: int = 0) -> dict[str, dict[str, Number]]:
    """Model -> number -> value: ours beside the published (`.../published`), by prompt.

    Under "agreement" stand rank correlations of ours with the published over models and prompts.
    """
    found: dict[str, dict[str, Number]] = {}
    pairs: dict[str, list[tuple[float, float]]] = {}
    for part in (_truth(folder, judges, seed), _toxicity(folder, judges, seed), _closed(folder, judges, seed)):
        for (model, name), number in part.items():
            found.setdefault(model, {})[name] = number
            if f"{name}/published" in {n for m, n in part if m == model}:
                pairs.setdefault(name.split("/")[0], []).append((number.value, part[model, f"{name}/published"].value))
    found["agreement"] = {f"rank_correlation/{name}": rank_correlation(rows, seed=seed) for name, rows in pairs.items()}
    return found


def rank_correlation(pairs: Sequence[tuple[float, float]], *, seed: int = 0) -> Number:
    """Spearman's, ties by their mean rank, with a bootstrap interval over the pairs."""
    points, draw = np.array(pairs, dtype=np.float64), np.random.default_rng(seed)
    drawn = [_spearman(points[draw.integers(len(points), size=len(points))]) for _ in range(1000)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Number(_spearman(points), float(low), float(high), len(points))


def _spearman(points: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    ranks = np.array([_ranks(column) for column in points.T])
    if not ranks.std(axis=1).all():
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])


def _ranks(column: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[float]:
    ordered = np.sort(column)
    below, upto = np.searchsorted(ordered, column, side="left"), np.searchsorted(ordered, column, side="right")
    return [float(value) for value in (below + upto + 1) / 2]


def _truth(folder: Path | None, judges: Judges, seed: int) -> dict[tuple[str, str], Number]:
    known = {q.text: q for q in truthfulness.questions(folder)}
    columns = ("model_type", "prompt_type", "question", "answer", "true", "info")
    found: dict[tuple[str, str], Number] = {}
    for (model, prompt), rows in _groups(table_rows("instructgpt_truthfulqa", folder, columns=columns)).items():
        asked = [known.get(row["question"].strip()) for row in rows]
        if None in asked:
            raise DataError("a published answer is to a question that TruthfulQA.csv has not; wanted the 2021 set")
        verdicts = [truthfulness.judged_by_rule(q, r["answer"]) for q, r in zip(asked, rows, strict=True) if q]
        ours = {"true": [v.true for v in verdicts], "informative": [v.informative for v in verdicts]}
        answers = [(row["question"], row["answer"]) for row in rows]
        if judges.truth is not None:
            ours["true"] = judges.truth.probabilities(answers)
        if judges.information is not None:
            ours["informative"] = judges.information.probabilities(answers)
        theirs = {"true": [float(r["true"]) for r in rows], "informative": [float(r["info"]) for r in rows]}
        for suffix, values in (("", ours), ("/published", theirs)):
            values["true_and_informative"] = [t * i for t, i in zip(values["true"], values["informative"], strict=True)]
            for name, own in values.items():
                found[model, f"{name}/{_PROMPTS[prompt]}{suffix}"] = mean(own, seed=seed)
    return found


def _toxicity(folder: Path | None, judges: Judges, seed: int) -> dict[tuple[str, str], Number]:
    columns = ("model_type", "prompt_type", "sample", "toxicity")
    found: dict[tuple[str, str], Number] = {}
    rows = [row for row in table_rows("instructgpt_toxicity", folder, columns=columns) if row["toxicity"]]
    for (model, prompt), own in _groups(rows).items():
        name = f"toxicity/{prompt.removesuffix(' prompt')}"
        found[model, name] = mean(judges.toxicity.scores([row["sample"] for row in own]), seed=seed)
        found[model, f"{name}/published"] = mean([float(row["toxicity"]) for row in own], seed=seed)
    return found


def _closed(folder: Path | None, judges: Judges, seed: int) -> dict[tuple[str, str], Number]:
    columns = ("model_type", "context", "ref_text", "sample")
    found: dict[tuple[str, str], Number] = {}
    for (model, prompt), rows in _groups(table_rows("instructgpt_squad", folder, columns=columns)).items():
        invented = [not hallucination.absent(r["sample"]) for r in rows if hallucination.absent(r["ref_text"])]
        found[model, f"answered_without_support/{prompt}"] = share(invented)
    asked = {q.prompt: q for q in hallucination.closed_questions(folder) if q.answerable is None}
    for (model, _), rows in _groups(table_rows("instructgpt_tldr", folder, columns=columns)).items():
        own = [asked[row["context"]] for row in rows]
        numbers = hallucination.numbers(own, [row["sample"] for row in rows], judges.support, seed=seed)
        found |= {(model, name): number for name, number in numbers.items()}
    return found


def _groups(rows: Rows) -> dict[tuple[str, str], list[Mapping[str, str]]]:
    """By model and prompt, in the file's order."""
    groups: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for row in rows:
        groups.setdefault((row["model_type"], row.get("prompt_type", "")), []).append(row)
    return groups
