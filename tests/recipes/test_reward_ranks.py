"""Two processes train the reward model that one trains."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file
from two_ranks import two_ranks

from backflip.feedback.store import Store
from backflip.lm.hub import tiny_model
from backflip.recipes import reward
from backflip.records import Answer, Candidate, Labeller, Prompt, Question
from backflip.runs import read_metrics


def settings(folder: Path, name: str) -> reward.Config:
    # batches of 3 and 1 on two ranks: uneven shards, and a rank that has nothing in the last batch
    store, model = str(folder / "store.db"), str(folder / "model")
    return reward.Config(folder / name, store, model, batch=3, learning_rate=1e-3, epochs=2, validation_share=0.2)


def on_each(rank: int, folder: Path) -> None:
    del rank
    reward.run(settings(folder, "two"))


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    tiny_model(tmp_path / "model")
    with Store.open(tmp_path / "store.db") as store:
        for number in range(5):
            texts = ["Rain.", "The sun is up.", "The moon is a big ball of rock."]
            question = Question("text", tuple(Candidate(t) for t in texts), Prompt.ask(f"What is {number}?"))
            store.add_questions([question])
            store.answer(Answer(question.id, Labeller("ann", "person"), tuple((c.id,) for c in question.candidates)))
    two_ranks(__file__, "on_each", tmp_path)
    one = reward.run(settings(tmp_path, "one"))
    assert one.questions == 4
    for alone, shared in zip(read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two"), strict=True):
        assert {k: shared[k] for k in shared if k != "time/train"} == pytest.approx(
            {k: alone[k] for k in alone if k != "time/train"}, rel=1e-4, abs=1e-6
        )
    first, second = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    # Adam's first steps divide by a gradient's own size, so rounding in tiny gradients shows; 8e-5 is 8 % of a step
    assert max(float((first[n] - second[n]).abs().max()) for n in first) < 8e-5
