"""Do raters who disagree teach more by their shares than by their majority? docs/results/soft_labels.json, on DICES-990.

    BACKFLIP_DATA=data python -m benchmarks.soft_labels

990 conversations, each rated by some 70 people safe or unsafe, without rater ids. A linear model over hashed n-grams is
fitted to the share that said unsafe, or to the majority, or to one rater; held-out raters' answers are what is predicted.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from backflip import __version__
from backflip.evaluation.numbers import mean
from backflip.evaluation.sources import json_value
from backflip.evaluation.toxicity_model import fit
from backflip.runs import atomic_write_json

RESULTS = Path(__file__).parent.parent / "docs" / "results"


@dataclass(frozen=True)
class Config:
    """Writes the result."""

    data: Path | None = None
    """The folder with the sets; none: $BACKFLIP_DATA, else the network."""
    folds: int = 5
    penalty: float = 1e-3
    seed: int = 0
    out: Path = RESULTS / "soft_labels.json"


def alpha(counts: list[tuple[int, int]]) -> float:
    """Krippendorff's nominal alpha from (unsafe, all) counts of each conversation."""
    total = sum(n for _, n in counts)
    ones = sum(k for k, _ in counts)
    seen = sum(2 * k * (n - k) / (n - 1) for k, n in counts) / total
    expected = 2 * ones * (total - ones) / (total * (total - 1))
    return 1 - seen / expected


def loss(share: float, chance: float) -> float:
    """The mean negative log-likelihood (nats) of the raters' answers."""
    chance = min(max(chance, 1e-6), 1 - 1e-6)
    return -(share * math.log(chance) + (1 - share) * math.log(1 - chance))


def main() -> None:
    """Fits by folds, and writes."""
    config = tyro.cli(Config, description=__doc__)
    texts, counts = _read(config.data)
    shares = [k / n for k, n in counts]
    order = list(range(len(texts)))
    random.Random(config.seed).shuffle(order)
    drawn = random.Random(config.seed + 1)
    targets: dict[str, list[float]] = {
        "share": shares,
        "majority": [float(s > 0.5) for s in shares],
        "one_rater": [float(drawn.random() < s) for s in shares],
    }
    losses: dict[str, list[float]] = {name: [0.0] * len(texts) for name in [*targets, "base_rate"]}
    for fold in range(config.folds):
        held = [i for place, i in enumerate(order) if place % config.folds == fold]
        rest = sorted(set(order) - set(held))
        for name, wanted in targets.items():
            model = fit([texts[i] for i in rest], [wanted[i] for i in rest], penalty=config.penalty)
            for i, chance in zip(held, model.scores([texts[i] for i in held]), strict=True):
                losses[name][i] = loss(shares[i], chance)
        base = float(np.mean([shares[i] for i in rest]))
        for i in held:
            losses["base_rate"][i] = loss(shares[i], base)
    values: dict[str, Any] = {f"loss/{name}": mean(own, seed=config.seed) for name, own in losses.items()}
    gain = [a - b for a, b in zip(losses["majority"], losses["share"], strict=True)]
    values["loss/majority_less_share"] = mean(gain, seed=config.seed)
    values["loss/least_possible"] = mean([loss(s, s) for s in shares], seed=config.seed)
    content = {
        "command": "python -m benchmarks.soft_labels",
        "version": __version__,
        "n": len(texts),
        "raters": [min(n for _, n in counts), max(n for _, n in counts)],
        "values": {name: {k: v for k, v in number._asdict().items() if k != "n"} for name, number in values.items()},
        "checked_against": {"what": "Krippendorff's alpha known for this set: 0.143", "alpha": alpha(counts)},
    }
    atomic_write_json(config.out, content)
    print(json.dumps(content, indent=1))


def _read(folder: Path | None) -> tuple[list[str], list[tuple[int, int]]]:
    """Conversations, and how many of their raters said unsafe ("Yes": the file's field is named the other way round)."""
    texts, counts = [], []
    for row in json_value("dices", folder)["instances"]:
        labels = row["annotations"]["safety"]["individual_human_scores"]
        told = [label for label in labels if label in ("Yes", "No")]
        texts.append(str(row["instance"]))
        counts.append((sum(label == "Yes" for label in told), len(told)))
    return texts, counts


if __name__ == "__main__":
    main()
