"""docs/results/values.json: pooled against group-aware rewards on people who disagree, from runs of `backflip values`.

    OPTIONS="--model MODEL --layers 6 --limit 300 --max-length 224"
    backflip values --folder runs/values/hh --store hh.db --by aim $OPTIONS
    backflip values --folder runs/values/pandalm --store pandalm.db $OPTIONS
    backflip values --folder runs/values/batch13 --store batch13.db $OPTIONS
    python -m benchmarks.values --runs runs/values/hh runs/values/pandalm runs/values/batch13

How the stores are filled is in docs/values.md. MODEL is SmolLM2-135M-Instruct.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from backflip.runs import atomic_write_json, read_run

RESULTS = Path(__file__).parent.parent / "docs" / "results"


@dataclass(frozen=True)
class Config:
    """Writes the committed result."""

    runs: tuple[Path, ...]
    """The folders of `backflip values`."""
    out: Path = RESULTS / "values.json"


def main() -> None:
    """Reads, and writes."""
    config = tyro.cli(Config, description=__doc__)
    found = {}
    for folder in config.runs:
        run = read_run(folder)
        if run is None or run.status != "done":
            raise SystemExit(f"{folder} is no finished run of `backflip values`")
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        kept = ("by", "layers", "limit", "max_length", "folds", "least", "seed")
        settings = {name: run.config[name] for name in kept}
        parts = ("groups", "prompts", "accuracy", "gain", "choices")
        found[folder.name] = {"settings": settings, "code": run.code} | {part: results[part] for part in parts}
    atomic_write_json(config.out, {"command": "python -m benchmarks.values", "studies": found})
    print(f"wrote {config.out}")


if __name__ == "__main__":
    main()
