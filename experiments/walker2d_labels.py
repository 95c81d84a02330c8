"""Real labels: the predictor on a person's answers about pairs of Walker2d clips, and who of several did not look.

110 pairs of clips of 100 steps (D4RL walker2d-medium-expert), each labelled by one person, and by the true return.
BACKFLIP_DATA names the folder of the public data sets. The person is real; all other labellers here are simulated.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from backflip.config import NOT_FINGERPRINTED
from backflip.control.predictor import Comparisons, Ensemble, PredictorSettings
from backflip.control.robots import ROBOTS
from backflip.control.segments import Segment, media_key
from backflip.control.spaces import Space
from backflip.evaluation.sources import data_folder
from backflip.feedback.intervals import Interval, bootstrap_ratio, wilson
from backflip.feedback.quality import answers_at_random
from backflip.records import Answer, Candidate, Labeller, Question
from backflip.runs import Parent, open_run
from experiments.cells import Cell, Row, Table

__all__ = ["SIZES", "Agreement", "Data", "Found", "agreement", "found_at_random", "load", "table"]

ABOUT = (
    "walker2d-medium-expert, 110 pairs labelled by one person (27 % ties) and by the true return; 30 held out, drawn "
    "anew for each of 10 seeds; accuracy on held-out pairs that the judge did not tie, bootstrap over pairs"
)
FILES: Final = ("num100_human_train", "num100_human_eval")
NAME: Final = "walker2d-medium-expert-v2__"
SIZES: Final = (10, 20, 40, 80)
HELD_OUT: Final = 30
_ENV: Final = "Walker2d-v5"

Judge = Literal["person", "true return"]


class Data(NamedTuple):
    """Pairs of clips; a label is how far the first is preferred: 1, 0, or 0.5 for a tie."""

    observations: Tensor  # (pairs, 2, steps, 17)
    actions: Tensor  # (pairs, 2, steps, 6)
    labels: Mapping[Judge, Tensor]  # (pairs,) each

    def __len__(self) -> int:
        return len(self.observations)


def load(folder: Path) -> Data:
    """The pairs of both files, one after the other."""
    place = folder / "control_pref_d4rl_human"
    files = [np.load(place / f"{NAME}{name}.npz", allow_pickle=False) for name in FILES]
    told = json.loads((place / "oracle_script_labels.json").read_bytes())
    pairs = {
        part: torch.from_numpy(np.concatenate([np.stack([f[f"{part}_1"], f[f"{part}_2"]], axis=1) for f in files]))
        for part in ("obs", "action")
    }
    labels: dict[Judge, str] = {"person": "label_human", "true return": "label_script"}
    second = {judge: [x for f in FILES for x in told[f"{NAME}{f}.npz"][label]] for judge, label in labels.items()}
    preferred = {judge: 1 - torch.tensor(values, dtype=torch.float32) for judge, values in second.items()}
    return Data(pairs["obs"].float(), pairs["action"].float(), preferred)


# --- the predictor


@dataclass(frozen=True)
class Agreement:
    """A predictor that learned from `answers` of `learned_from`: how often it says what each judge says."""

    folder: Path = field(metadata=NOT_FINGERPRINTED)
    data: Path = field(metadata=NOT_FINGERPRINTED)
    learned_from: Judge
    answers: int
    seeds: int = 10
    steps: int = 200
    seed: int = 0


def agreement(config: Agreement) -> None:
    """Fits on so many answers, seed by seed, and foretells the held-out pairs."""
    parents = [Parent("data", str(config.data / "control_pref_d4rl_human"))]
    with open_run(config.folder, recipe="walker2d_labels", config=config, seed=config.seed, parents=parents) as ledger:
        if ledger.done:
            return
        data, begun = load(config.data), time.process_time()
        tallies: dict[Judge, np.ndarray] = {judge: np.zeros((len(data), 2)) for judge in data.labels}
        for seed in range(config.seed, config.seed + config.seeds):
            order = np.random.default_rng(seed).permutation(len(data))
            held, learned = order[:HELD_OUT], order[HELD_OUT : HELD_OUT + config.answers]
            says_first = _foretold(config, data, learned, held, seed)
            for judge, labels in data.labels.items():
                strict = labels[held] != 0.5
                right = (says_first == (labels[held] > 0.5)) & strict
                tallies[judge][held] += np.stack([right.numpy(), strict.numpy()], axis=1)
        said = {judge: bootstrap_ratio(t[:, 0], t[:, 1]) for judge, t in tallies.items()}
        ledger.finish({"agreement": said, "cpu_seconds": round(time.process_time() - begun, 1)})


def _foretold(config: Agreement, data: Data, learned: Any, held: Any, seed: int) -> Tensor:
    """Whether the first of each held-out pair is foretold to be better."""
    space = Space(_ENV, tuple(data.observations.shape[3:]), data.actions.shape[-1], angles=ROBOTS[_ENV].angles)
    ensemble = Ensemble(space, PredictorSettings(), seed=seed)
    keys = tuple(str(i) for i in learned)
    target = data.labels[config.learned_from][learned]
    known = Comparisons(data.observations[learned], data.actions[learned], target, keys)
    ensemble.fit(known, steps=config.steps)
    ensemble.normalise(known.observations, known.actions)
    sums = ensemble.rewards(data.observations[held], data.actions[held]).sum(dim=-1)  # (held, 2)
    return sums[:, 0] > sums[:, 1]


def agreement_row(config: Agreement, record: Any) -> Row:
    """What `agreement` found."""
    told = {f"agrees_with_{judge.replace(' ', '_')}": said for judge, said in record.result["agreement"].items()}
    return {
        "env": "walker2d-medium-expert-v2",
        "learned_from": config.learned_from,
        "answers": config.answers,
        "seeds": config.seeds,
        **told,
        "seconds": record.result["cpu_seconds"],
    }


# --- who did not look


@dataclass(frozen=True)
class Found:
    """How often the quality report takes each of several labellers for one who answers at random."""

    folder: Path = field(metadata=NOT_FINGERPRINTED)
    data: Path = field(metadata=NOT_FINGERPRINTED)
    answers: int
    draws: int = 200
    seed: int = 0


LABELLERS: Final = ("person", "true return", "true return, 10 % wrong", "at random")


def found_at_random(config: Found) -> None:
    """Four labellers answer the same questions: the person, and three that are simulated, one of whom never looks."""
    parents = [Parent("data", str(config.data / "control_pref_d4rl_human"))]
    with open_run(config.folder, recipe="walker2d_labels", config=config, seed=config.seed, parents=parents) as ledger:
        if ledger.done:
            return
        data, begun = load(config.data), time.process_time()
        pairs = [_candidates(data, pair) for pair in range(len(data))]
        found = dict.fromkeys(LABELLERS, 0)
        for seed in range(config.seed, config.seed + config.draws):
            for who, chance in answers_at_random(_answers(data, pairs, config.answers, seed)).items():
                found[who] += chance.random
        shares = {who: Interval(n / config.draws, *wilson(n, config.draws)) for who, n in found.items()}
        ledger.finish({"found": shares, "cpu_seconds": round(time.process_time() - begun, 1)})


Clips = tuple[Candidate, Candidate]


def _candidates(data: Data, pair: int) -> Clips:
    """The first and the second clip."""
    clips = zip(data.observations[pair].numpy(), data.actions[pair].numpy(), strict=True)
    first, second = (Candidate(media=media_key(Segment(_ENV, *clip, None))) for clip in clips)
    return first, second


def _answers(data: Data, pairs: Sequence[Clips], count: int, seed: int) -> list[Answer]:
    draw = random.Random(seed)
    answers = []
    for pair in draw.sample(range(len(pairs)), count):
        true = float(data.labels["true return"][pair])
        said = {
            "person": float(data.labels["person"][pair]),
            "true return": true,
            "true return, 10 % wrong": 1 - true if draw.random() < 0.1 else true,
            "at random": float(draw.random() < 0.5),
        }
        answers += [_answer(pairs[pair], who, label) for who, label in said.items()]
    return answers


def _answer(clips: Clips, who: str, label: float) -> Answer:
    first, second = (candidate.id for candidate in clips)
    tied, apart = ((first, second),), ((first,), (second,))
    tiers = tied if label == 0.5 else apart if label > 0.5 else apart[::-1]
    labeller = Labeller(who, "person" if who == "person" else "simulated")
    return Answer(Question("clip", clips).id, labeller, tiers, shown=(first, second))


def found_row(config: Found, record: Any) -> Row:
    """What `found_at_random` found."""
    shares = {who: [round(x, 3) for x in share] for who, share in record.result["found"].items()}
    return {"answers_each": config.answers, "draws": config.draws, "taken_for_random": shares}


def table(folder: Path) -> Table:
    """Both judges at each size, and the quality report at several."""
    data, judges = data_folder(), ("person", "true return")
    cells = []
    for judge in judges:
        for size in SIZES:
            own = folder / f"{judge.replace(' ', '-')}-{size}"
            work: Any = Agreement(own, data, judge, size)
            cells.append(Cell(own.name, work, agreement, agreement_row, group="agreement"))
    for size in (20, 50, 110):
        own = folder / f"at-random-{size}"
        cells.append(Cell(own.name, Found(own, data, size), found_at_random, found_row, group="at random"))
    return Table("walker2d-labels", cells, ABOUT)
