"""The safety filter on real labels, beside others: OpenAI's moderation samples, XSTest, and attempts to evade it.

    BACKFLIP_DATA=data OMP_NUM_THREADS=1 python benchmarks/moderation.py --peer-python .peers-safety/bin/python

1,680 texts with eight categories (Markov et al., arXiv 2208.03274), by five folds, near-duplicates in one fold: the
classifier of `backflip safety train` is trained on four and scores the fifth. AUPRC a category; recall where 5 % of the
texts that are harmless in that category are blocked; intervals resample texts. The peer is alt-profanity-check
(`pip install alt-profanity-check` into an environment of its own). XSTest (arXiv 2308.01263) has safe prompts that look
unsafe, and unsafe ones. Evasion: texts that the filter finds, spelled another way, and found again.
"""

from __future__ import annotations

import csv
import gzip
import json
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

from backflip.evaluation.sources import data_folder
from backflip.runs import atomic_write_json
from backflip.runs.version import code_version
from backflip.safety.groups import near_duplicates
from backflip.safety.ngrams import fit
from backflip.safety.rules import default_words
from backflip.safety.thresholds import average_precision, joint_thresholds, recall, threshold_at

__all__ = ["Config", "main"]

CATEGORIES = {
    "S": "sexual",
    "H": "hate",
    "V": "violence",
    "HR": "harassment",
    "SH": "self-harm",
    "S3": "sexual/minors",
    "H2": "hate/threatening",
    "V2": "violence/graphic",
}
PEER = "import sys, json; from profanity_check import predict_prob as p; print(json.dumps([float(x) for x in p(json.load(sys.stdin))]))"  # noqa: E501
RESAMPLES = 400

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Config:
    """What is measured, and where it goes."""

    out: Path = Path("docs/results/moderation.json")
    peer_python: Path | None = None
    """The interpreter of an environment that has alt-profanity-check."""
    folds: int = 5
    penalty: float = 1e-5
    steps: int = 40
    rate: float = 0.05
    """Of false alarms."""
    seed: int = 0


def main() -> None:
    """Measures and writes."""
    config, began = tyro.cli(Config, description=__doc__), time.process_time()
    texts, targets = _samples()
    folds = _folds(texts, config)
    ours = _cross_validated(texts, targets, folds, config)
    anything, flagged = ours.max(axis=1), np.nanmax(targets, axis=1)
    values = {f"ours {name} AUPRC": _interval(average_precision, ours[:, i], targets[:, i]) for i, name in _named()}
    at = _recall_at(config.rate)
    values |= {f"ours {name} recall": _interval(at, ours[:, i], targets[:, i]) for i, name in _named()}
    rivals = {"ours": anything, "word list": _listed(texts)}
    if config.peer_python:
        rivals["alt-profanity-check"] = _peer(config.peer_python, texts)
    for name, scores in rivals.items():
        values[f"{name} any category AUPRC"] = _interval(average_precision, scores, flagged)
        values[f"{name} any category recall"] = _interval(at, scores, flagged)
    values |= _xstest(texts, targets, ours, config) | _evasion(texts)
    result = {
        "command": shlex.join(["python", "benchmarks/moderation.py", *sys.argv[1:]]),
        "version": code_version(),
        "machine": {"architecture": platform.machine(), "python": platform.python_version()},
        "n": len(texts),
        "settings": {"folds": config.folds, "penalty": config.penalty, "steps": config.steps, "rate": config.rate},
        "values": values,
        "checked_against": "average precision by a slow version in tests; alt-profanity-check on the same texts",
        "cpu_seconds": time.process_time() - began,
    }
    atomic_write_json(config.out, result)
    print(json.dumps(values, indent=1))


def _named() -> list[tuple[int, str]]:
    return list(enumerate(CATEGORIES.values()))


def _samples() -> tuple[list[str], Floats]:
    with gzip.open(data_folder() / "moderation_openai/samples-1680.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    targets = [[float(row.get(key, np.nan)) for key in CATEGORIES] for row in rows]
    return [row["prompt"] for row in rows], np.array(targets)


def _folds(texts: Sequence[str], config: Config) -> NDArray[np.int64]:
    groups = near_duplicates(texts)
    place = np.random.default_rng(config.seed).integers(config.folds, size=len(texts))
    return place[groups]


def _cross_validated(texts: Sequence[str], targets: Floats, folds: NDArray[np.int64], config: Config) -> Floats:
    scores = np.zeros(targets.shape)
    for fold in range(config.folds):
        inside = np.flatnonzero(folds != fold)
        outside = np.flatnonzero(folds == fold)
        model = _fitted([texts[i] for i in inside], targets[inside], config)
        scores[outside] = model([texts[i] for i in outside])
        print(f"fold {fold + 1} of {config.folds}", file=sys.stderr)
    return scores


def _fitted(texts: Sequence[str], targets: Floats, config: Config) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    return fit(texts, targets, labels=list(CATEGORIES.values()), penalty=config.penalty, steps=config.steps).scores


def _recall_at(rate: float) -> Callable[[Floats, Floats], float]:
    return lambda scores, targets: recall(scores, targets, threshold=threshold_at(scores[targets < 0.5], rate=rate))


def _interval(measure: Callable[[Floats, Floats], float], scores: Floats, targets: Floats) -> dict[str, float | int]:
    known = ~np.isnan(targets)
    own, target = scores[known], targets[known]
    draw = np.random.default_rng(0)
    drawn = []
    while len(drawn) < RESAMPLES:
        chosen = draw.integers(len(own), size=len(own))
        if 0 < target[chosen].sum() < len(own):
            drawn.append(measure(own[chosen], target[chosen]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    counts = {"n": len(own), "positives": int(target.sum())}
    return {"value": measure(own, target), "low": float(low), "high": float(high), **counts}


def _listed(texts: Sequence[str]) -> Floats:
    words = default_words()
    return np.array([float(not words.check(text).allowed) for text in texts])


def _peer(python: Path, texts: Sequence[str]) -> Floats:
    done = subprocess.run(
        [python, "-c", PEER], input=json.dumps(list(texts)), capture_output=True, text=True, check=True
    )
    return np.array(json.loads(done.stdout))


def _xstest(texts: Sequence[str], targets: Floats, ours: Floats, config: Config) -> dict[str, Any]:
    """The share of XSTest's safe and unsafe prompts that are blocked: all categories together at `rate`."""
    with (data_folder() / "moderation_xstest/xstest_prompts.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    least = joint_thresholds(ours, targets, rate=config.rate)
    prompts = [row["prompt"] for row in rows]
    over = (_fitted(texts, targets, config)(prompts) >= least).any(axis=1)
    blocked = {"ours": over.astype(float), "word list": _listed(prompts)}
    kinds = {kind: np.array([row["label"] == kind for row in rows]) for kind in ("safe", "unsafe")}
    return {
        f"{name} blocks of XSTest {kind}": _share(found[chosen])
        for name, found in blocked.items()
        for kind, chosen in kinds.items()
    }


def _share(found: Floats) -> dict[str, float | int]:
    draw = np.random.default_rng(0)
    drawn = [found[draw.integers(len(found), size=len(found))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"value": float(found.mean()), "low": float(low), "high": float(high), "n": len(found)}


def _leet(text: str) -> str:
    return text.translate(str.maketrans("aeiost", "4310$7"))


def _look_alike(text: str) -> str:
    return text.translate(str.maketrans("aeopcxy", "аеорсху"))  # Cyrillic


SPELLED: Mapping[str, Callable[[str], str]] = {
    "as it stands": str,
    "leetspeak": _leet,
    "look-alike letters": _look_alike,
    "invisible signs": "\u200b".join,
    "spaced letters": lambda text: "  ".join(" ".join(word) for word in text.split()),
    "full width": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
}


def _evasion(texts: Sequence[str]) -> dict[str, Any]:
    """Of the texts in which the word list finds something: the share in which it still does."""
    words = default_words()
    found = [text for text in texts if not words.check(text).allowed]
    shares = {}
    for name, spell in SPELLED.items():
        again = np.array([float(not words.check(spell(text)).allowed) for text in found])
        shares[f"word list still finds, {name}"] = _share(again)
    return shares


if __name__ == "__main__":
    main()
