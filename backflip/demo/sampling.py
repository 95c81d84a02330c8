"""Draws the questions that the demo ships with: SFT as in the demo, then K answers to each of its first prompts.

    python -m backflip.demo.sampling --folder runs/questions --out backflip/demo/questions.jsonl

The file's first line says how it was made; every other line is a prompt and its answers, as they were sampled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from backflip.demo import task
from backflip.demo.contents import fill
from backflip.demo.settings import HUMAN_QUESTIONS, Scale, loop_at, most_texts
from backflip.lm.hub import SMOLLM2, ModelSource, fetch_model, tiny_model
from backflip.recipes import sample, sft
from backflip.recipes.command import exit_code
from backflip.runs import RunRecord, atomic_write_text, read_run
from backflip.runs.version import code_version

__all__ = ["Config", "main", "run"]


@dataclass(frozen=True)
class Config:
    """Fine-tunes the demo's model on its demonstrations, samples, and writes what was sampled."""

    out: Path = Path("questions.jsonl")
    """The file to write."""
    folder: Path = Path("runs/questions")
    """The runs lie here; the same command goes on where it stopped."""
    limit: int = HUMAN_QUESTIONS
    """How many prompts."""
    seed: int = 0
    scale: Scale = "demo"
    """`tiny`: a random model, in seconds."""


def run(config: Config) -> Path:
    """Runs what is not done yet, writes the file and returns its path."""
    source = tiny_model(config.folder / "tiny-model") if config.scale == "tiny" else fetch_model(SMOLLM2)
    store = config.folder / "feedback.db"
    fill(store, most=most_texts(config.scale))
    loop = loop_at(config.scale)
    place: dict[str, Any] = {
        "store": str(store),
        "project": task.SOURCE,
        "prompts": task.SOURCE,
        "seed": config.seed,
    }
    tuned = sft.run(replace(loop.sft, folder=config.folder / "sft", model=str(source.folder), **place))
    sampling = replace(
        loop.sample, folder=config.folder / "sample", model=tuned.model, limit=config.limit, ask=False, **place
    )
    sampled = sample.run(sampling)
    lines = [_made(config, source, read_run(sampling.folder)), *_rows(Path(sampled.samples_file))]
    atomic_write_text(config.out, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return config.out


def _made(config: Config, source: ModelSource, record: RunRecord | None) -> dict[str, Any]:
    assert record is not None  # it has just ended
    kept = ("samples", "max_tokens", "temperature", "seed")
    return {
        "made": {
            "command": f"python -m backflip.demo.sampling --limit {config.limit} --seed {config.seed}",
            "model": SMOLLM2 if config.scale == "demo" else "tiny",
            "model_sha256": source.sha256,
            "code": code_version(),
            "fingerprint": record.fingerprint,
            "when": record.finished,
            **{name: record.config[name] for name in kept},
        }
    }


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """One a prompt; texts that were drawn twice stand once."""
    by_prompt: dict[str, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        prompt = row["prompt"]["messages"][-1][1]
        found = by_prompt.setdefault(prompt, {"prompt": prompt, "answers": []})
        answer = {"text": row["text"], "ended": row["ended"]}
        if all(answer["text"] != other["text"] for other in found["answers"]):
            found["answers"].append(answer)
    yield from by_prompt.values()


def main() -> None:
    """`python -m backflip.demo.sampling`."""
    if code := exit_code(lambda: print(run(tyro.cli(Config, description=__doc__)))):
        raise SystemExit(code)


if __name__ == "__main__":
    main()
