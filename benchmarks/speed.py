"""Speed and memory beside peers: PPO, sampling, reward model and SFT, ours and the peer's in turn.

    python benchmarks/speed.py --trl112-python .peers-112/bin/python --trl116-python .peers-116/bin/python

makes docs/results/speed.json; the first lines of each program in benchmarks/peers say how its environment is made.
`--part ppo` (sampling, mixed, reward, reward_lora, sft) measures one part; what was measured is kept under `--work` and
not measured again. Nothing else should run meanwhile. Each measurement is a process of its own; this one loads no
torch, because a child's peak memory starts from its parent's.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tyro
from rich.console import Console
from rich.table import Table

__all__ = ["Config", "main"]

HERE = Path(__file__).parent
Name = Literal["ppo", "sampling", "mixed", "reward", "reward_lora", "sft"]
_VERSIONS = "import json, importlib.metadata as m; print(json.dumps({n: m.version(n) for n in %r}))"


@dataclass(frozen=True)
class Config:
    """What is measured, and where."""

    trl112_python: Path
    """The interpreter of the environment with TRL 1.12 (benchmarks/peers/trl_ppo.py)."""
    trl116_python: Path
    """The interpreter of the environment with TRL 1.16 (the other peers)."""
    part: tuple[Name, ...] = ("ppo", "sampling", "mixed", "reward", "reward_lora", "sft")
    repeats: int = 2
    """Measurements of each side."""
    quick: bool = False
    """One measurement of each side, to see that all works."""
    threads: int = 0
    """Threads of each process; 0 leaves it to torch."""
    model: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
    """A Transformers folder, or a model that `backflip.lm.hub` knows where to find."""
    peers: Path = HERE / "peers"
    """A folder with peers of the same names, options and output as benchmarks/peers."""
    work: Path = Path("runs/speed")
    out: Path = Path("docs/results/speed.json")


class Part(NamedTuple):
    """One comparison: the peer's program, the field of its rate, and the floors that ours is to reach."""

    program: str
    options: tuple[str, ...]
    rate: str  # of the JSON line of both sides: work a second
    unit: str
    work: str
    faster: float  # ours over the peer's
    memory: float | None  # ours over the peer's


PARTS: dict[Name, Part] = {
    "ppo": Part(
        "trl_ppo.py",
        ("--episodes", "8", "--steps", "1"),
        "episodes_per_s",
        "episodes/s",
        "one update of 8 episodes of 32 + 48 tokens, four full models in float32, all weights trained",
        1.3,
        0.8,
    ),
    "sampling": Part(
        "transformers_generate.py",
        ("--batch", "32", "--tokens", "48", "--repeats", "1"),
        "tokens_per_s",
        "tokens/s",
        "8 prompts of 32 tokens, 4 samples each (the peer: 32 prompts), 48 new tokens, 32 rows",
        1.5,
        None,
    ),
    "mixed": Part(
        "transformers_generate.py",
        ("--batch", "32", "--tokens", "48", "--repeats", "1", "--mixed"),
        "tokens_per_s",
        "wanted tokens/s",
        "lengths spread evenly over 1 to 48; ours is a stream of 96 samples through 32 rows, the peer's batches of 32",
        2.5,
        None,
    ),
    "reward": Part(
        "trl_reward.py",
        ("--rankings", "1", "--k", "9"),
        "rankings_per_s",
        "rankings/s",
        "rankings of 9 answers of 40 words to a prompt of 30, float32, all weights trained",
        6.0,
        0.5,
    ),
    "reward_lora": Part(
        "trl_reward.py",
        ("--rankings", "1", "--k", "9"),
        "rankings_per_s",
        "rankings/s",
        "as reward, but ours trains LoRA of rank 16 on every layer; the peer still trains all weights",
        6.0,
        0.5,
    ),
    "sft": Part(
        "trl_sft.py",
        ("--steps", "3"),
        "tokens_per_s",
        "tokens/s",
        "packed rows of 256 tokens, about 512 tokens an update, float32, all weights trained",
        1.3,
        None,
    ),
}


def main() -> None:
    """Measures what is not measured yet, prints the table, writes the results."""
    config = tyro.cli(Config, description=__doc__)
    model = _model(config)
    for name in config.part:
        for repeat in range(1 if config.quick else config.repeats):
            for side in ("ours", "peer"):
                _measured(config, model, name, side, repeat)
    result = _result(config)
    _show(result)
    from backflip.runs.files import atomic_write_json  # imports torch: not before the last child has run

    atomic_write_json(config.out, result)
    print(f"written to {config.out}")


def _model(config: Config) -> str:
    """The model's folder; found by a process that may import torch."""
    if Path(config.model).exists():
        return config.model
    code = f"from backflip.lm.hub import fetch_model; print(fetch_model({config.model!r}).folder)"
    return _output([sys.executable, "-c", code], {}).splitlines()[-1]


def _measured(config: Config, model: str, name: Name, side: str, repeat: int) -> None:
    """Runs one side of one part once, unless its result is there."""
    path = _path(config, name, side, repeat)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    line = _output(_command(config, model, name, side), _threads(config)).splitlines()[-1]
    print(f"{name}, {side}, {repeat + 1}: {line}", file=sys.stderr)
    partial = path.with_suffix(".partial")
    partial.write_text(line)
    partial.rename(path)


def _path(config: Config, name: str, side: str, repeat: int) -> Path:
    return config.work / f"threads-{config.threads or 'all'}" / name / f"{side}-{repeat}.json"


def _command(config: Config, model: str, name: Name, side: str) -> list[str]:
    part = PARTS[name]
    if side == "ours":
        return [sys.executable, str(HERE / "speed_ours.py"), name, "--model", model, "--work", str(config.work)]
    python = config.trl112_python if name == "ppo" else config.trl116_python
    return [str(python), str(config.peers / part.program), "--model", model, *part.options, *_data(config, name)]


def _data(config: Config, name: Name) -> list[str]:
    """SFT's peer reads a file; ours reads the same."""
    if name != "sft":
        return []
    from speed_data import write_tasks

    return ["--data", str(write_tasks(config.work / "tasks.jsonl.gz"))]


def _threads(config: Config) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(config.threads)} if config.threads else {}


def _output(command: list[str], variables: dict[str, str]) -> str:
    """What a process prints. Its environment keeps hubs and reports out of the measurement."""
    fixed = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": os.pathsep.join(_paths())}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | fixed | variables)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} failed:\n{done.stderr[-3000:]}")
    return done.stdout.strip()


def _paths() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def _result(config: Config) -> dict[str, Any]:
    """All parts that have been measured on both sides."""
    from backflip.runs.version import code_version

    shown = [word if not Path(word).is_absolute() else Path(word).name for word in sys.argv[1:]]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "command": shlex.join(["python", "benchmarks/speed.py", *shown]),
        "version": code_version(),
        "machine": {
            "cores": os.cpu_count(),
            "ram_gib": round(memory),
            "threads": config.threads or os.cpu_count(),
            "architecture": platform.machine(),
        },
        "versions": {
            "ours": _versions(Path(sys.executable), ("torch", "transformers")),
            "ppo": _versions(config.trl112_python, ("torch", "transformers", "trl")),
            "others": _versions(config.trl116_python, ("torch", "transformers", "trl")),
        },
        "parts": {name: part for name in PARTS if (part := _part(config, name))},
    }


def _versions(python: Path, names: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = json.loads(_output([str(python), "-c", _VERSIONS % (names,)], {}))
    return found


def _part(config: Config, name: Name) -> dict[str, Any] | None:
    """Medians of both sides, their ratios, and whether the floors are reached."""
    part, sides = PARTS[name], {side: _runs(config, name, side) for side in ("ours", "peer")}
    if not all(sides.values()):
        return None
    medians = {
        side: {
            part.rate: statistics.median(run[part.rate] for run in runs),
            "peak_rss_mb": round(statistics.median(run["peak_rss_mb"] for run in runs)),
            "runs": runs,
        }
        for side, runs in sides.items()
    }
    speed, memory = (medians["ours"][key] / medians["peer"][key] for key in (part.rate, "peak_rss_mb"))
    return {
        "work": part.work,
        "unit": part.unit,
        **medians,
        "speed_ratio": round(speed, 3),
        "speed_floor": part.faster,
        "memory_ratio": round(memory, 3),
        "memory_floor": part.memory,
        "reached": speed >= part.faster and (part.memory is None or memory <= part.memory),
    }


def _runs(config: Config, name: str, side: str) -> list[dict[str, Any]]:
    paths = sorted(_path(config, name, side, 0).parent.glob(f"{side}-*.json"))
    return [json.loads(path.read_text()) for path in paths]


def _show(result: dict[str, Any]) -> None:
    table = Table(title="Ours beside the peer: medians, peak memory")
    for column in ("part", "unit", "ours", "peer", "ratio", "floor", "ours MB", "peer MB", "share", "limit", "reached"):
        table.add_column(column, justify="left" if column in ("part", "unit") else "right")
    for name, part in result["parts"].items():
        rate = PARTS[name].rate
        limit = "" if part["memory_floor"] is None else f"{part['memory_floor']:.2f}"
        table.add_row(
            name,
            part["unit"],
            *(f"{part[side][rate]:.3g}" for side in ("ours", "peer")),
            f"{part['speed_ratio']:.2f}",
            f"{part['speed_floor']:.1f}",
            *(f"{part[side]['peak_rss_mb']:,}" for side in ("ours", "peer")),
            f"{part['memory_ratio']:.2f}",
            limit,
            "yes" if part["reached"] else "no",
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
