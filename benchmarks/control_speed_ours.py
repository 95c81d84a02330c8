"""Our side of benchmarks/control_speed.py, one measurement a process: prints one JSON line."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["main"]


def loop(steps: int) -> dict[str, Any]:
    """Steps a second of the whole loop (rollouts, questions, answers, predictor, PPO), after the first rollout."""
    from backflip.config import from_dict
    from backflip.recipes import control

    with tempfile.TemporaryDirectory() as folder:
        fields = {"folder": f"{folder}/run", "steps": steps, "env": {"env": "Hopper-v5", "count": 64, "horizon": 200}}
        more = {"asking": {"budget": 150}, "teacher": {"goal": "forward"}, "episodes": 1, "evaluation_horizon": 10}
        times: list[float] = []
        config = from_dict(control.Config, fields | more)
        control.run(config, after_rollout=lambda _: times.append(time.perf_counter()))
        size = config.env.count * config.agent.steps
        return {"steps_per_s": size * (len(times) - 1) / (times[-1] - times[0]), "envs": config.env.count}


def predictor(members: int, comparisons: int, length: int) -> dict[str, Any]:
    """Seconds an epoch over so many comparisons: as many optimiser steps as its minibatches fill."""
    import torch

    from backflip.control.predictor import Comparisons, Ensemble, PredictorSettings
    from backflip.control.spaces import Space

    draw = torch.Generator().manual_seed(0)
    seen = torch.randn(comparisons, 2, length, 11, generator=draw)
    acts = torch.rand(comparisons, 2, length, 3, generator=draw) * 2 - 1
    target = torch.ones(comparisons)
    data = Comparisons(seen, acts, target, tuple(str(i) for i in range(comparisons)))
    settings = replace(PredictorSettings(), members=members)
    ensemble = Ensemble(Space("Hopper-v5", (11,), 3, angles=(1,)), settings, seed=0)
    steps = -(-comparisons // settings.minibatch)
    ensemble.fit(data, steps=1)
    begin = time.perf_counter()
    ensemble.fit(data, steps=5 * steps)
    seconds = (time.perf_counter() - begin) / 5
    return {"seconds_per_epoch": seconds, "members": members, "comparisons": comparisons}


def pair(env: str) -> dict[str, Any]:
    """Seconds to make a pair of clips of 60 steps ready: the median of five pairs, after the first."""
    from backflip.control.clips import Filming
    from backflip.feedback.media import Media

    clips, times = segments(env, 12), []
    with tempfile.TemporaryDirectory() as folder, Filming(Media(Path(folder))) as film:
        for first, second in zip(clips[::2], clips[1::2], strict=True):
            begin = time.perf_counter()
            film(first)
            film(second)
            times.append(time.perf_counter() - begin)
    return {"seconds": statistics.median(times[1:]), "first_seconds": times[0], "env": env}


def segments(env: str, count: int) -> list[Any]:
    """Clips of 60 steps of a random policy."""
    from backflip.control.envs import EnvSettings, make_envs
    from backflip.control.segments import Recorder

    envs = make_envs(EnvSettings(env, count=count, horizon=60))
    recorder, draw = Recorder(env), np.random.default_rng(0)
    seen = envs.reset(0)
    recorder.start(envs.states())
    for _ in range(60):
        acts = draw.uniform(-1, 1, (count, envs.space.actions)).astype(np.float32)
        after = envs.step(acts)
        recorder.record(seen, acts, envs.states())
        seen = after
    return [segment for segment, _ in recorder.cut([(i, 0) for i in range(count)], 60)]


def wait(env: str, pairs: int = 16, think: float = 1.5) -> dict[str, Any]:
    """Seconds from a person's key to the next pair on the screen: a real studio, a real browser, the median of pairs.

    The clips are made before, as they are in a run: when they are asked about. A person looks for `think` seconds.
    """
    from control_wait import waits

    found = waits(segments(env, 2 * pairs), think)
    return {"seconds": statistics.median(found), "slowest_seconds": max(found), "pairs": len(found), "env": env}


def main() -> None:
    """One measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["loop", "predictor", "pair", "wait"])
    parser.add_argument("--steps", type=int, default=128_000)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--comparisons", type=int, default=900)
    parser.add_argument("--length", type=int, default=60)
    parser.add_argument("--env", default="Hopper-v5")
    given = parser.parse_args()
    if given.what == "loop":
        print(json.dumps(loop(given.steps)))
    elif given.what == "predictor":
        print(json.dumps(predictor(given.members, given.comparisons, given.length)))
    else:
        print(json.dumps({"pair": pair, "wait": wait}[given.what](given.env)))


if __name__ == "__main__":
    main()
