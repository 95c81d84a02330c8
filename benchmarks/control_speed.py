"""Control beside peers in one run: steps a second of the loop, seconds an epoch of the predictor, and a pair of clips.

    python benchmarks/control_speed.py --sb3-python .peers-sb3/bin/python --imitation-python .peers-imitation/bin/python

makes docs/results/control_speed.json; the first lines of each program in benchmarks/peers say how its environment is
made. Nothing else should run meanwhile. Each measurement is a process of its own, ours and the peers' in turn.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import tyro

__all__ = ["MEASUREMENTS", "Config", "main", "ratios"]

HERE = Path(__file__).parent
_VERSIONS: Final = "import json, importlib.metadata as m; print(json.dumps({n: m.version(n) for n in %r}))"


@dataclass(frozen=True)
class Config:
    """Where the peers are, and where the figures go."""

    sb3_python: Path
    """The interpreter of the environment with stable-baselines3."""
    imitation_python: Path
    """The interpreter of the environment with imitation."""
    repeats: int = 3
    """Measurements of each; the median counts."""
    threads: int = 0
    """Threads of each process; 0 leaves it to torch."""
    out: Path = Path("docs/results/control_speed.json")


class Measurement(NamedTuple):
    """One thing that is measured: by which program, and the field of its JSON line that counts."""

    side: str  # ours, sb3, imitation
    words: tuple[str, ...]
    field: str


MEASUREMENTS: Final[Mapping[str, Measurement]] = {
    "loop, ours": Measurement("ours", ("loop",), "steps_per_s"),
    "PPO alone, SB3, 1 environment": Measurement("sb3", ("ppo", "--envs", "1", "--steps", "6144"), "steps_per_s"),
    "PPO alone, SB3, 8 environments": Measurement("sb3", ("ppo", "--envs", "8", "--steps", "16384"), "steps_per_s"),
    "loop, imitation": Measurement("imitation", ("loop",), "steps_per_s"),
    "predictor epoch, ours, 3 members": Measurement("ours", ("predictor", "--members", "3"), "seconds_per_epoch"),
    "predictor epoch, imitation, 3 members": Measurement(
        "imitation", ("predictor", "--members", "3"), "seconds_per_epoch"
    ),
    "predictor epoch, imitation, 1 member": Measurement(
        "imitation", ("predictor", "--members", "1"), "seconds_per_epoch"
    ),
    "pair, ours, Hopper": Measurement("ours", ("pair", "--env", "Hopper-v5"), "seconds"),
    "pair, ours, Ant": Measurement("ours", ("pair", "--env", "Ant-v5"), "seconds"),
    "pair, as a person waits for it, Hopper": Measurement("ours", ("wait", "--env", "Hopper-v5"), "seconds"),
    "pair, as a person waits for it, Ant": Measurement("ours", ("wait", "--env", "Ant-v5"), "seconds"),
    "pair, Gymnasium's renderer, Hopper": Measurement("sb3", ("pair",), "seconds"),
}
_PROGRAMS: Final = {
    "ours": HERE / "control_speed_ours.py",
    "sb3": HERE / "peers" / "sb3_hopper.py",
    "imitation": HERE / "peers" / "imitation_hopper.py",
}


def main() -> None:
    """Measures all and writes the file."""
    config = tyro.cli(Config, description=__doc__)
    pythons = {"ours": Path(sys.executable), "sb3": config.sb3_python, "imitation": config.imitation_python}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in MEASUREMENTS}
    for repeat in range(config.repeats):
        for name, measurement in MEASUREMENTS.items():
            program = [str(pythons[measurement.side]), "-W", "ignore", str(_PROGRAMS[measurement.side])]
            line = _output([*program, *measurement.words], config.threads).splitlines()[-1]
            print(f"{repeat + 1}: {name}: {line}", file=sys.stderr, flush=True)
            runs[name].append(json.loads(line))
    result = _result(config, pythons, runs)
    from backflip.runs.files import atomic_write_json  # loads torch: not before the last measurement

    atomic_write_json(config.out, result)
    print(json.dumps(result["ratios"], indent=2))


def ratios(medians: Mapping[str, float]) -> dict[str, Any]:
    """How much faster ours is, and what was aimed at. SB3 is taken at its best."""
    sb3 = max(medians[name] for name in MEASUREMENTS if "SB3" in name)
    epoch = medians["predictor epoch, ours, 3 members"]
    found = {
        "loop over SB3's PPO": (medians["loop, ours"] / sb3, 4.0),
        "loop over imitation's": (medians["loop, ours"] / medians["loop, imitation"], None),
        "predictor epoch over imitation's, 3 members each": (
            medians["predictor epoch, imitation, 3 members"] / epoch,
            20.0,
        ),
        "predictor epoch, our 3 members over imitation's 1": (
            medians["predictor epoch, imitation, 1 member"] / epoch,
            None,
        ),
        "pair over Gymnasium's renderer, Hopper": (
            medians["pair, Gymnasium's renderer, Hopper"] / medians["pair, ours, Hopper"],
            None,
        ),
    }
    return {
        name: {"times": round(times, 2), "aim": aim, "reached": None if aim is None else times >= aim}
        for name, (times, aim) in found.items()
    }


def _result(
    config: Config, pythons: Mapping[str, Path], runs: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    from backflip.runs.version import code_version

    medians = {name: statistics.median(run[MEASUREMENTS[name].field] for run in found) for name, found in runs.items()}
    shown = [word if not Path(word).is_absolute() else Path(word).name for word in sys.argv[1:]]
    return {
        "command": shlex.join(["python", "benchmarks/control_speed.py", *shown]),
        "version": code_version(),
        "machine": {
            "cores": os.cpu_count(),
            "threads": config.threads or os.cpu_count(),
            "architecture": platform.machine(),
        },
        "versions": {
            "ours": _versions(pythons["ours"], ("torch", "gymnasium", "envpool", "mujoco")),
            "sb3": _versions(pythons["sb3"], ("torch", "gymnasium", "stable-baselines3", "mujoco")),
            "imitation": _versions(pythons["imitation"], ("torch", "gymnasium", "stable-baselines3", "imitation")),
        },
        "work": {
            "loop": "Hopper; ours: 64 environments, 150 answers, an ensemble of 3; imitation: 8 environments, one net",
            "predictor epoch": "900 comparisons of clips of 60 steps, 11 observations and 3 actions, 2 x 64 units",
            "pair": "two clips of 60 steps made ready to be shown; Gymnasium's: 120 pictures, not encoded",
            "pair, as a person waits for it": "from the key to the next pair on the screen, Chromium, 1.5 s a pair",
        },
        "medians": {name: float(f"{median:.4g}") for name, median in medians.items()},
        "ratios": ratios(medians),
        "runs": runs,
    }


def _versions(python: Path, names: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = json.loads(_output([str(python), "-c", _VERSIONS % (names,)], 0))
    return found


def _output(command: list[str], threads: int) -> str:
    extra = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | extra)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} failed:\n{done.stderr[-3000:]}")
    return done.stdout.strip()


if __name__ == "__main__":
    main()
