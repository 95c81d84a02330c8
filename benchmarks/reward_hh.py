"""The reward model on real human comparisons, beside TRL's RewardTrainer.

    BACKFLIP_DATA=data OMP_NUM_THREADS=1 python benchmarks/reward_hh.py --trl-python .peers/bin/python

Anthropic's HH (helpful-base, test file), pairs of at most 256 tokens a side, SmolLM2-135M-Instruct cut to its first
layers, LoRA on the upper ones. Both sides get the same token ids, trunk, adapters, batches, schedule and Adam; each
chooses its learning rate from the same list by the loss on the last part of the training pairs, and is then trained on
all of them. Held-out pairs are scored once. Without --trl-python only our side runs. Stops and goes on at will.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import tyro

from backflip.errors import ConfigError
from backflip.evaluation.preference import Judged, accuracy
from backflip.evaluation.sources import data_folder
from backflip.feedback import formats
from backflip.feedback.formats import Ranked
from backflip.feedback.store import Store
from backflip.lm.backbone import load_causal, load_tokenizer, save_causal
from backflip.lm.hub import SMOLLM2, fetch_model
from backflip.lm.rewards import RewardFolder, reward_tree
from backflip.lm.tokens import Tokens
from backflip.recipes import reward
from backflip.records import Labeller, content_id
from backflip.runs import atomic_folder, atomic_write_json, atomic_write_text
from backflip.runs.version import code_version

__all__ = ["Config", "main"]

PEER = Path(__file__).parent / "peers" / "trl_reward_hh.py"
LABELLER = Labeller("hh", "import")


@dataclass(frozen=True)
class Config:
    """What is compared, and on what."""

    trl_python: Path | None = None
    """The interpreter of an environment that has TRL (see benchmarks/peers/trl_reward_hh.py)."""
    model: str = SMOLLM2
    train_pairs: int = 600
    validation_pairs: int = 120
    """So many of the training pairs choose the learning rate."""
    held_out_pairs: int = 600
    max_tokens: int = 256
    """Of prompt and answer together, on each side."""
    layers: int = 10
    lora_layers: int = 4
    lora_rank: int = 16
    batch: int = 16
    epochs: int = 1
    rates: tuple[float, ...] = (2e-4, 6e-4)
    seed: int = 0
    work: Path = Path("runs/reward_hh")
    out: Path = Path("docs/results/reward_hh.json")


@dataclass(frozen=True)
class Fit:
    """The margins (better less worse) that a fitted model gives pairs, and what it took."""

    margins: list[float]
    train_seconds: float
    score_seconds: float
    versions: dict[str, str]

    @property
    def loss(self) -> float:
        return sum(math.log1p(math.exp(-m)) for m in self.margins) / len(self.margins)


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    trunk = _trunk(config)
    tokens = Tokens.load(trunk)
    pairs = _pairs(config, tokens)
    train, held_out = pairs[: config.train_pairs], pairs[config.train_pairs :]
    sides = {"ours": _fit_ours, **({"trl": _fit_trl} if config.trl_python else {})}
    result = _context(config, train, held_out)
    for side, fit in sides.items():
        result[side] = _side(config, side, fit, trunk, tokens, train, held_out)
    longer = [_length(pair, 0) - _length(pair, 1) for pair in held_out]
    result["longer_is_better"] = {"accuracy": _accuracy(held_out, longer)}
    result["seconds"] = {side: result[side].pop("seconds") for side in sides}
    result["seconds"]["total"] = sum(s["all_fits"] for s in result["seconds"].values())
    atomic_write_json(config.out, result)
    print(json.dumps(result, indent=2))
    print(f"written to {config.out}")


def _side(
    config: Config,
    side: str,
    fit: Any,
    trunk: Path,
    tokens: Tokens,
    train: list[Ranked],
    held_out: list[Ranked],
) -> dict[str, Any]:
    """Chooses the rate on the training pairs, fits all of them, and scores the held-out ones once."""
    fitted, chosen_on = train[: -config.validation_pairs], train[-config.validation_pairs :]
    tried = {}
    for rate in config.rates:
        tried[rate] = _kept(config, f"{side}-{rate:g}", fit, rate, trunk, tokens, fitted, chosen_on)
        print(f"{side}, rate {rate:g}: validation loss {tried[rate].loss:.4f}", file=sys.stderr)
    rate = min(tried, key=lambda r: tried[r].loss)
    final = _kept(config, f"{side}-final", fit, rate, trunk, tokens, train, held_out)
    return {
        "accuracy": _accuracy(held_out, final.margins),
        "loss": final.loss,
        "learning_rate": rate,
        "validation": [
            {"learning_rate": r, "loss": f.loss, "accuracy": _accuracy(chosen_on, f.margins)["value"]}
            for r, f in tried.items()
        ],
        "seconds": {
            "train": final.train_seconds,
            "score": final.score_seconds,
            "all_fits": sum(f.train_seconds + f.score_seconds for f in (final, *tried.values())),
        },
        "versions": final.versions,
    }


def _kept(
    config: Config,
    name: str,
    fit: Any,
    rate: float,
    trunk: Path,
    tokens: Tokens,
    train: list[Ranked],
    scored: list[Ranked],
) -> Fit:
    """A fit, or what an earlier start of the same work left of it."""
    path = config.work / name / "fit.json"
    if not path.exists():
        made: Fit = fit(config, path.parent, rate, trunk, tokens, train, scored)
        atomic_write_json(path, asdict(made))
    return Fit(**json.loads(path.read_text()))


def _fit_ours(
    config: Config,
    folder: Path,
    rate: float,
    trunk: Path,
    tokens: Tokens,  # noqa: ARG001  the recipe and the reward folder have their own
    train: list[Ranked],
    scored: list[Ranked],
) -> Fit:
    folder.mkdir(parents=True, exist_ok=True)
    with Store.open(folder / "store.db") as store, store.transaction():
        if not store.last_sequence():
            store.add_questions(question for question, _ in train)
            for _, answer in train:
                store.answer(answer)
    started = time.perf_counter()
    found = reward.run(
        reward.Config(
            folder=folder / "run",
            store=str(folder / "store.db"),
            model=str(trunk),
            lora_rank=config.lora_rank,
            lora_layers=config.lora_layers,
            lora_alpha=2.0 * config.lora_rank,
            epochs=config.epochs,
            batch=config.batch,
            learning_rate=rate,
            max_length=config.max_tokens,
            validation_share=0.0,
            seed=config.seed,
        )
    )
    trained = time.perf_counter()
    rows = RewardFolder.load(found.model).scores(
        [question.prompt for question, _ in scored if question.prompt], [_texts(pair) for pair in scored]
    )
    seconds = trained - started, time.perf_counter() - trained
    return Fit([better - worse for better, worse in rows], *seconds, {"torch": torch.__version__})


def _fit_trl(
    config: Config,
    folder: Path,
    rate: float,
    trunk: Path,
    tokens: Tokens,
    train: list[Ranked],
    scored: list[Ranked],
) -> Fit:
    files = {"--train": train, "--score": scored}
    for name, some in files.items():
        lines = "".join(json.dumps(_ids(tokens, pair)) + "\n" for pair in some)
        atomic_write_text(folder / f"{name[2:]}.jsonl", lines)
    command = [
        str(config.trl_python),
        str(PEER),
        "--model",
        str(trunk),
        "--rate",
        str(rate),
        "--seed",
        str(config.seed),
    ]
    command += ["--batch", str(config.batch), "--epochs", str(config.epochs), "--rank", str(config.lora_rank)]
    command += ["--alpha", str(2.0 * config.lora_rank), "--upper-layers", str(config.lora_layers)]
    for name in files:
        command += [name, str(folder / f"{name[2:]}.jsonl")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Fit(**json.loads(done.stdout.strip().splitlines()[-1]))


def _trunk(config: Config) -> Path:
    """The model cut to its first layers, as an ordinary folder that both sides start from."""
    folder = config.work / f"trunk-{config.layers}"
    if not folder.exists():
        source = fetch_model(config.model).folder
        backbone, head = load_causal(source)
        backbone.keep_layers(config.layers)
        with atomic_folder(folder) as target:
            save_causal(target, backbone, head, load_tokenizer(source))
    return folder


def _pairs(config: Config, tokens: Tokens) -> list[Ranked]:
    """Training pairs first, then held-out ones, by a draw that depends on seed and content; one a prompt."""
    ranked = formats.read(data_folder() / "pref_hh_rlhf" / "helpful-base_test.jsonl.gz", "hh")
    one_a_prompt = {q.prompt.id: Ranked(q, a) for q, a in ranked if q.prompt}
    short = [r for r in one_a_prompt.values() if max(map(len, _ids(tokens, r).values())) <= config.max_tokens]
    wanted = config.train_pairs + config.held_out_pairs
    if len(short) < wanted:
        raise ConfigError(f"only {len(short)} pairs have at most {config.max_tokens} tokens; wanted {wanted}")
    return sorted(short, key=lambda r: content_id(config.seed, r.question.id))[:wanted]


def _texts(pair: Ranked) -> list[str]:
    """The better text, then the worse."""
    text = {c.id: c.text or "" for c in pair.question.candidates}
    return [text[tier[0]] for tier in pair.answer.tiers]


def _ids(tokens: Tokens, pair: Ranked) -> dict[str, tuple[int, ...]]:
    if pair.question.prompt is None:
        raise ConfigError(f"question {pair.question.id[:12]} has no prompt")
    tree = reward_tree(tokens, pair.question.prompt, _texts(pair), [True, True])
    return {"chosen_ids": tree.prompt + tree.responses[0], "rejected_ids": tree.prompt + tree.responses[1]}


def _length(pair: Ranked, side: int) -> float:
    return float(len(_texts(pair)[side]))


def _accuracy(pairs: Sequence[Ranked], margins: Sequence[float]) -> dict[str, float]:
    units = [pair.question.prompt.id for pair in pairs if pair.question.prompt]
    return accuracy(Judged(unit, LABELLER, 1, margin) for unit, margin in zip(units, margins, strict=True))


def _context(config: Config, train: list[Ranked], held_out: list[Ranked]) -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    settings = {k: v for k, v in asdict(config).items() if k not in ("trl_python", "work", "out")}
    return {
        "data": "Anthropic HH, helpful-base, test file",
        "train_pairs": len(train),
        "held_out_pairs": len(held_out),
        "settings": settings,
        "command": _command(config),
        "version": code_version(),
        "machine": {
            "cores": os.cpu_count(),
            "ram_gib": round(memory),
            "threads": torch.get_num_threads(),
            "architecture": platform.machine(),
            "load_average": round(os.getloadavg()[2], 1),  # well above `threads`: the seconds are no benchmark
        },
        "seeds": [config.seed],
    }


def _command(config: Config) -> str:
    """The command that gives these numbers, wherever its folders lie."""
    words = ["python", "benchmarks/reward_hh.py"]
    words += ["--trl-python", ".peers/bin/python"] if config.trl_python else []
    for field in fields(Config):
        value = getattr(config, field.name)
        if field.name not in ("trl_python", "work", "out") and value != field.default:
            words += [f"--{field.name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else [value])]
    return shlex.join(words)


if __name__ == "__main__":
    main()
