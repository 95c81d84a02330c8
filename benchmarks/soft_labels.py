"""Do raters who disagree teach more by their shares than by their majority? docs/results/soft_labels.json, on DICES.

    BACKFLIP_DATA=data python -m benchmarks.soft_labels

990 conversations, each rated by some 70 people safe or unsafe, without rater ids. A linear model over hashed n-grams is
fitted to the share that said unsafe, the majority, or one rater; all raters of held-out conversations are predicted.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
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


def alpha(ratings: list[Counter[str]]) -> float:
    """Krippendorff's nominal alpha from each conversation's counts by label."""
    totals = sum(ratings, Counter())
    count = totals.total()
    same = sum(sum(k * (k - 1) for k in own.values()) / (own.total() - 1) for own in ratings) / count
    by_chance = sum(k * (k - 1) for k in totals.values()) / (count * (count - 1))
    return (same - by_chance) / (1 - by_chance)


def loss(share: float, chance: float) -> float:
    """The mean negative log-likelihood (nats) of the raters' answers."""
    chance = min(max(chance, 1e-6), 1 - 1e-6)
    return -(share * math.log(chance) + (1 - share) * math.log(1 - chance))


def main() -> None:
    """Fits by folds, and writes."""
    config = tyro.cli(Config, description=__doc__)
    texts, ratings = _read(config.data)
    shares = [own["Yes"] / (own["Yes"] + own["No"]) for own in ratings]
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
        "raters": [min(own.total() for own in ratings), max(own.total() for own in ratings)],
        "values": {name: {k: v for k, v in number._asdict().items() if k != "n"} for name, number in values.items()},
        "checked_against": {"what": "Krippendorff's alpha known for this set: 0.143", "alpha": alpha(ratings)},
    }
    atomic_write_json(config.out, content)
    print(json.dumps(content, indent=1))


def _read(folder: Path | None) -> tuple[list[str], list[Counter[str]]]:
    """Conversations, and how many raters said Yes (unsafe: the field is named the other way round), No and Unsure."""
    rows = json_value("dices", folder)["instances"]
    texts = [f"{row['instance']['user_prompt']}\n{row['instance']['response']}" for row in rows]
    return texts, [Counter(row["annotations"]["safety"]["individual_human_scores"]) for row in rows]


if __name__ == "__main__":
    main()
