"""Our side of benchmarks/speed.py, through the recipes' own functions: one part a process, one JSON line.

python benchmarks/speed_ours.py ppo --model FOLDER --work runs/speed
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from speed_data import tasks, words

from backflip.feedback.store import Store
from backflip.lm.heads import Causal
from backflip.lm.sampler import LocalSampler, SamplerConfig
from backflip.records import Answer, Candidate, Demonstration, Labeller, Prompt, Question
from backflip.runs import read_metrics

__all__ = ["main"]

Found = dict[str, float]


def main() -> None:
    """Runs one part and prints what it measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    folder = args.work / f"ours-{args.part}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = PARTS[args.part](args.model, folder)
    shutil.rmtree(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"ours": args.part, **found, "peak_rss_mb": peak, "threads": torch.get_num_threads()}))


def ppo(model: str, folder: Path) -> Found:
    """One update: policy, reference, reward model and value net, all of them whole, all weights trained."""
    from backflip.lm.rewards import weighted
    from backflip.recipes.ppo import Config, Trainer, Value
    from backflip.recipes.ppo.algorithm import learn, rollout
    from backflip.recipes.ppo.frozen import Frozen
    from backflip.runs.ranks import world

    reward = _reward_folder(model, folder.parent / "reward")
    draw = random.Random(0)
    prompts = [Prompt(text=words(draw, 32)) for _ in range(8)]
    config = Config(
        policy=Path(model),
        reward=((reward, 1.0),),
        value=Value(start=Path(reward)),
        store="",
        folder=folder,
        batch=8,
        minibatch=8,
        max_tokens=48,
        ema=0.0,
        tokens_per_pass=320,
        reload_frozen=True,
    )
    trainer = Trainer(config, world(), reward=Frozen(lambda: weighted(config.reward), keep=False))
    trainer.sampler = _endless(trainer.policy, 48)
    assert {len(trainer.tokens.prompt(prompt)) for prompt in prompts} == {32}
    start, busy = time.perf_counter(), time.process_time()
    episodes = rollout(trainer, prompts)
    metrics = episodes.metrics | learn(trainer, episodes)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    assert episodes.mask.sum() == 8 * 48
    laps = {name.removeprefix("time/"): metrics[name] for name in ("time/sample", "time/score", "time/train")}
    return {"episodes_per_s": 8 / seconds, "seconds": seconds, "cpu_s": busy, **laps}


def _reward_folder(model: str, folder: Path) -> str:
    """The same trunk with a scalar head, made once by a process of its own, as a `backflip reward` folder."""
    if not folder.exists():
        code = f"import speed_ours; speed_ours.save_reward({model!r}, {str(folder)!r})"
        _python(code)
    return str(folder)


def _python(code: str) -> None:
    import os
    import subprocess
    import sys

    subprocess.run(
        [sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    )


def save_reward(model: str, folder: str) -> None:
    """Writes a fresh reward model on the trunk of `model`."""
    from backflip.lm.heads import Scalar
    from backflip.runs import atomic_folder

    policy = Causal.load(model)
    with atomic_folder(Path(folder)) as partial:
        Scalar.on_trunk(policy.backbone, policy.tokenizer, seed=0).save(partial)


def _endless(model: Causal, tokens: int) -> LocalSampler:
    """A sampler whose answers never end before the limit, so that the work is fixed."""
    sampler = LocalSampler(model, SamplerConfig(tokens))
    sampler.eos = -1
    return sampler


class _Mixed(LocalSampler):
    """Sample i of 32 ends after 1 + i * tokens / 32 tokens, as if it had met its EOS."""

    def _finished(self, row: Any) -> bool:
        place = (row.prompt * 4 + row.sample) % 32
        return bool(len(row.tokens) == 1 + place * self.config.max_tokens // 32)


def sampling(model: str, folder: Path) -> Found:
    """8 prompts, 4 samples each, all of 48 tokens."""
    del folder
    return _sample(_endless(Causal.load(model), 48), 8)


def mixed(model: str, folder: Path) -> Found:
    """24 prompts, 4 samples each, of lengths spread evenly over 1 to 48."""
    del folder
    return _sample(_Mixed(Causal.load(model), SamplerConfig(48)), 24)


def _sample(sampler: LocalSampler, prompts: int) -> Found:
    ids = torch.randint(5, 40_000, (prompts, 32), generator=torch.Generator().manual_seed(0)).tolist()
    sampler.sample(ids[:8], samples=1)  # the peer has one run before the one that is timed
    start, busy = time.perf_counter(), time.process_time()
    groups = sampler.sample(ids, samples=4)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    tokens = sum(len(c.tokens) for group in groups for c in group)
    return {"tokens": tokens, "seconds": seconds, "tokens_per_s": tokens / seconds, "cpu_s": busy}


def reward(model: str, folder: Path) -> Found:
    """Two updates of one ranking of nine each, through the whole recipe; all weights, in as little memory as it can."""
    return _reward(model, folder, rank=0)


def reward_lora(model: str, folder: Path) -> Found:
    """The same with LoRA of rank 16 on every layer."""
    return _reward(model, folder, rank=16)


def _reward(model: str, folder: Path, *, rank: int) -> Found:
    from backflip.recipes import reward as recipe

    store, draw = str(folder / "store.db"), random.Random(0)
    with Store.open(store) as opened, opened.transaction():
        for _ in range(2):
            _ranking(opened, draw)
    settings = recipe.Config(
        folder=folder / "run",
        store=store,
        model=model,
        lora_rank=rank,
        batch=1,
        micro_tokens=512,
        validation_share=0.0,
        clip_norm=1.0 if rank else 0.0,
        recompute=not rank,
    )
    busy = _cpu_seconds(lambda: recipe.run(settings))
    times = [line["time/train"] for line in read_metrics(folder / "run")]
    return {"rankings_per_s": len(times) / sum(times), "first_s": times[0], "last_s": times[-1], "cpu_s": busy}


def _cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _ranking(store: Store, draw: random.Random) -> None:
    candidates = tuple(sorted((Candidate(text=words(draw, 40)) for _ in range(9)), key=lambda c: c.id))
    question = Question("text", candidates, prompt=Prompt(text=words(draw, 30)), purpose="train")
    order = tuple(c.id for c in candidates)
    store.add_questions([question])
    store.answer(Answer(question.id, Labeller("bench", "import"), tuple((c,) for c in order)))


def sft(model: str, folder: Path) -> Found:
    """Updates of about 512 tokens in packed rows of at most 256, through the whole recipe."""
    from backflip.recipes import sft as recipe

    store = str(folder / "store.db")
    with Store.open(store) as opened:
        opened.add_demonstrations(
            Demonstration(Prompt.ask(question), answer, Labeller("bench", "maker")) for question, answer in tasks()[:12]
        )
    settings = recipe.Config(
        folder=folder / "run",
        store=store,
        model=model,
        epochs=1,
        batch=4,
        checkpoint_every=1000,
        dropout=0.0,
        row_length=256,
        micro_tokens=640,
        validation_share=0.0,
        keep=1,
    )
    busy = _cpu_seconds(lambda: recipe.run(settings))
    lines = list(read_metrics(folder / "run"))
    tokens, seconds = sum(line["sft/tokens"] for line in lines), sum(line["time/train"] for line in lines)
    return {"tokens": tokens, "seconds": seconds, "tokens_per_s": tokens / seconds, "cpu_s": busy}


PARTS: dict[str, Callable[[str, Path], Found]] = {
    "ppo": ppo,
    "sampling": sampling,
    "mixed": mixed,
    "reward": reward,
    "reward_lora": reward_lora,
    "sft": sft,
}

if __name__ == "__main__":
    main()
