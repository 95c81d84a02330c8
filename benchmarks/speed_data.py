"""The texts of the SFT measurement: instructions with answers of 20 to 120 words, drawn from a fixed seed."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

__all__ = ["WORDS", "tasks", "words", "write_tasks"]

WORDS = ("moon", "hat", "people", "ball", "sky", "night", "small", "step", "land", "child", "story", "bright")
_COUNT = 64


def words(draw: random.Random, count: int) -> str:
    """`count` common words, each one token of most vocabularies."""
    return " ".join(draw.choice(WORDS) for _ in range(count))


def tasks() -> list[tuple[str, str]]:
    """(question, answer) pairs."""
    draw = random.Random(0)
    return [(words(draw, draw.randint(10, 40)), words(draw, draw.randint(20, 120))) for _ in range(_COUNT)]


def write_tasks(path: Path) -> Path:
    """Writes them as lines of self-instruct, which is what the peer reads."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            json.dumps({"instruction": question, "instances": [{"input": "", "output": answer}]})
            for question, answer in tasks()
        ]
        partial = path.with_suffix(".partial")
        partial.write_bytes(gzip.compress("\n".join(lines).encode()))
        partial.rename(path)
    return path
