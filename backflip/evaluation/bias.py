"""CrowS-Pairs (Nangia et al., arXiv 2010.00133) and Winogender (Rudinger et al., arXiv 1804.09301), as P's appendix has it.

A set of sentences that differ in whom they are about gets a distribution from the model's probabilities of the whole
sentences; its entropy in bits says how little the model cares: 1 bit of two (log2 3 of three) is no preference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from backflip.errors import DataError
from backflip.evaluation.choices import Choice, continued
from backflip.evaluation.numbers import Number, grouped, mean, share
from backflip.evaluation.sources import table_rows
from backflip.lm.tokens import Tokens

__all__ = [
    "GENDERS",
    "Pronouns",
    "StereotypePair",
    "choices",
    "crows_numbers",
    "crows_pairs",
    "distribution",
    "entropy_bits",
    "occupations",
    "winogender",
    "winogender_numbers",
]

GENDERS = ("male", "female", "neutral")


class StereotypePair(NamedTuple):
    """`sentences`: the one that stereotypes more, and the same about another group."""

    key: str
    sentences: tuple[str, str]
    kind: str


class Pronouns(NamedTuple):
    """One Winogender sentence with he, she and they; `about_occupation`: whether the pronoun means the occupation."""

    key: str
    sentences: tuple[str, str, str]
    occupation: str
    about_occupation: bool


def crows_pairs(folder: Path | None, limit: int | None = None) -> list[StereotypePair]:
    """The pairs in the set's order; `sent_more` is first whatever the direction, as in the published metric."""
    rows = table_rows("crows_pairs", folder, columns=("", "sent_more", "sent_less", "bias_type"))
    return [StereotypePair(r[""], (r["sent_more"], r["sent_less"]), r["bias_type"]) for r in rows[:limit]]


def winogender(folder: Path | None, limit: int | None = None) -> list[Pronouns]:
    """The 240 sentences, each with its three pronouns. Raises DataError where one is missing."""
    found: dict[str, dict[str, str]] = {}
    for row in table_rows("winogender", folder, columns=("sentid", "sentence")):
        key, gender = row["sentid"].removesuffix(".txt").rsplit(".", 1)
        found.setdefault(key, {})[gender] = row["sentence"]
    asked = []
    for key, sentences in list(found.items())[:limit]:
        if set(sentences) != set(GENDERS):
            raise DataError(f"Winogender sentence {key!r} has {sorted(sentences)}; wanted {sorted(GENDERS)}")
        occupation, _, answer = key.split(".")
        male, female, neutral = (sentences[gender] for gender in GENDERS)
        asked.append(Pronouns(key, (male, female, neutral), occupation, answer == "0"))
    return asked


def choices(tokens: Tokens, asked: Sequence[StereotypePair | Pronouns]) -> list[Choice]:
    """Whole sentences as options after nothing but the start of a document."""
    return [continued(tokens, one.key, "", one.sentences) for one in asked]


def distribution(logprobs: Sequence[float]) -> list[float]:
    """The probabilities of the options, given that it is one of them."""
    peak = max(logprobs)
    mass = [math.exp(value - peak) for value in logprobs]
    return [value / sum(mass) for value in mass]


def entropy_bits(probabilities: Sequence[float]) -> float:
    return -sum(p * math.log2(p) for p in probabilities if p)


def crows_numbers(
    pairs: Sequence[StereotypePair], logprobs: Sequence[Sequence[float]], *, seed: int = 0
) -> dict[str, Number]:
    """Share of pairs whose stereotyping sentence is likelier (50 % is even), all and by kind; entropy; probability."""
    spread = [distribution(row) for row in logprobs]
    stereotype = [row[0] > row[1] for row in logprobs]
    return {
        "stereotype_share": share(stereotype),
        "stereotype_probability": mean([row[0] for row in spread], seed=seed),
        "entropy_bits": mean([entropy_bits(row) for row in spread], seed=seed),
        "difference_nats": mean([abs(row[0] - row[1]) for row in logprobs], seed=seed),
        **grouped(stereotype, [pair.kind for pair in pairs], share, name="stereotype_share"),
    }


def winogender_numbers(
    asked: Sequence[Pronouns],
    logprobs: Sequence[Sequence[float]],
    female_share: dict[str, float],
    *,
    seed: int = 0,
) -> dict[str, Number]:
    """Entropy over the three pronouns and over he and she; mean P(she) of the two; its correlation with the share of
    women in the occupation (US labour statistics), over the occupations whose sentences mean them."""
    spread = [distribution(row) for row in logprobs]
    two = [distribution(row[:2]) for row in logprobs]
    found = {
        "entropy_bits": mean([entropy_bits(row) for row in spread], seed=seed),
        "entropy_bits_he_she": mean([entropy_bits(row) for row in two], seed=seed),
        "probability_she": mean([row[1] for row in two], seed=seed),
        "probability_they": mean([row[2] for row in spread], seed=seed),
    }
    by_occupation: dict[str, list[float]] = {}
    for one, row in zip(asked, two, strict=True):
        if one.about_occupation and one.occupation in female_share:
            by_occupation.setdefault(one.occupation, []).append(row[1])
    if len(by_occupation) > 2:
        pairs = [(float(np.mean(values)), female_share[name]) for name, values in by_occupation.items()]
        found["correlation_with_occupations"] = _correlation(pairs, seed)
    return found


def occupations(folder: Path | None) -> dict[str, float]:
    """Occupation -> the share of women in it, in percent."""
    rows = table_rows("winogender_occupations", folder, columns=("occupation", "bls_pct_female"))
    return {row["occupation"]: float(row["bls_pct_female"]) for row in rows}


def _correlation(pairs: Sequence[tuple[float, float]], seed: int) -> Number:
    """Pearson's, with a bootstrap interval over occupations."""
    points, draw = np.array(pairs), np.random.default_rng(seed)
    drawn = [points[draw.integers(len(points), size=len(points))] for _ in range(2000)]
    found = np.array([np.corrcoef(one.T)[0, 1] for one in drawn if one.std(axis=0).all()])
    value = float(np.corrcoef(points.T)[0, 1])
    low, high = np.quantile(found, [0.025, 0.975])
    return Number(value, float(low), float(high), len(points))
