"""Two gloo processes give the numbers that one gives, up to float error, and write one run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import torch
from ppo_kit import Kit, make_kit, steady
from safetensors.torch import load_file
from two_ranks import two_ranks

from backflip.recipes import ppo
from backflip.recipes.ppo import KL, Adapter, Config, Judge, Ptx, Rates, Scores
from backflip.runs.metrics import read_metrics

MIXED = Adapter(
    rank=4, layers=1, value_rank=0, alpha=8.0
)  # a LoRA policy, whose draws are shared; all of the value net


def config(kit: Kit, folder: Path) -> Config:
    """Everything that could depend on the number of ranks: prompts that do not divide, means, beta, text, judge."""
    return kit.config(
        folder=folder,
        updates=4,
        adapter=MIXED,
        batch=12,
        minibatch=6,  # three prompts: two for one rank, one for the other
        inner_epochs=2,
        scores=Scores(normalise=True, whiten=True),
        kl=KL(beta=0.2, target=0.5, horizon=60),
        ptx=Ptx(text=(kit.text,), examples=1, length=9),
        judge=Judge(spec=(("python:ppo_kit:count_e", 1.0),), every=2),
        rates=Rates(policy=1e-2, value=2e-3),
    )


def on_each(rank: int, folder: Path) -> None:
    kit = Kit(folder, folder / "tiny", str(folder / "feedback.db"), folder / "prose.txt")
    chosen = config(kit, folder / "two")
    with suppress(KeyboardInterrupt):
        ppo.run(chosen, after_update=_stop)
    result = ppo.run(chosen)
    again = ppo.run(chosen)  # rank 1 learns from rank 0 that it is done
    (folder / f"result-{rank}").write_text(f"{result == again} {result}")


def _stop(trainer: ppo.Trainer) -> None:
    """On both ranks after the third update: the last checkpoint is of the second."""
    if trainer.update == 3:
        raise KeyboardInterrupt


def test_two_ranks_are_as_one(tmp_path: Path) -> None:
    kit = make_kit(tmp_path)
    two_ranks(__file__, "on_each", tmp_path)
    alone = ppo.run(config(kit, tmp_path / "one"))
    results = [(tmp_path / f"result-{rank}").read_text() for rank in (0, 1)]
    assert results[0] == results[1]
    assert results[0].startswith("True")
    one, two = (read_metrics(tmp_path / count) for count in ("one", "two"))
    assert len(one) == len(two) == 5  # the start's judging, and four updates
    for ours, theirs in zip(one, two, strict=True):
        assert steady(theirs) == pytest.approx(steady(ours), rel=1e-3, abs=1e-4)
    saved = load_file(tmp_path / "two" / "model" / "model.safetensors")
    for key, value in load_file(Path(alone.model) / "model.safetensors").items():
        torch.testing.assert_close(saved[key], value, rtol=0, atol=2e-5)
