"""An ensemble of reward models decides what is asked next: from samples and answers to questions in their order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backflip import pipeline
from backflip.errors import ConfigError
from backflip.feedback.selection import priorities
from backflip.feedback.store import Store
from backflip.lm.hub import tiny_model
from backflip.lm.rewards import RewardFolder
from backflip.recipes import ask, reward, sample
from backflip.records import Labeller, Prompt, Question
from backflip.runs import read_run

JUDGE = "python:backflip.demo.task:judge"
PROMPTS = [
    Prompt.ask(f"Explain {topic} to a six-year-old in a few sentences.")
    for topic in ("rain", "snow", "the moon", "bees", "bread", "fire")
]


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, tuple[str, ...]]:
    """Store, policy, and two reward models of different seeds, trained on simulated answers."""
    folder = tmp_path_factory.mktemp("select")
    store, policy = str(folder / "feedback.db"), str(tiny_model(folder / "policy").folder)
    with Store.open(store) as opened:
        opened.add_prompts(PROMPTS, name="default")
    sample.run(sample.Config(folder=folder / "first", store=store, model=policy, samples=3, max_tokens=8))
    ask.run(ask.Config(folder=folder / "ask", store=store, judge=JUDGE))
    found = [
        reward.run(
            reward.Config(
                folder=folder / f"reward-{seed}", store=store, model=policy, learning_rate=1e-3, batch=2, seed=seed
            )
        ).model
        for seed in (1, 2)
    ]
    return store, policy, tuple(found)


def more(ensemble: tuple[str, str, tuple[str, ...]], folder: Path, **changes: Any) -> sample.Config:
    store, policy, _ = ensemble
    known = {"folder": folder, "store": store, "model": policy, "samples": 3, "max_tokens": 8, "seed": 7}
    return sample.Config(**(known | changes))


def added(store: str, purpose: str) -> list[Question]:
    with Store.open(store) as opened:
        return list(opened.questions(purpose=purpose))


def test_the_most_disputed_are_asked_first(ensemble: tuple[str, str, tuple[str, ...]], tmp_path: Path) -> None:
    store, _, models = ensemble
    result = sample.run(more(ensemble, tmp_path / "all", purpose="all"))
    everything = {q.prompt.id: q for q in added(store, "all") if q.prompt}
    config = more(
        ensemble, tmp_path / "run", purpose="more", select="disagreement", selectors=models, most=3, priority=5
    )
    chosen = sample.run(config)
    assert (chosen.asked, chosen.left_out) == (3, result.asked - 3)
    assert "that came later left out" in str(chosen)
    # The slow way: each reward model's scores of each question, and the variance of the predicted preferences.
    rewards = [RewardFolder.load(model) for model in models]
    wanted = {}
    for key, q in everything.items():
        assert q.prompt is not None
        texts, ended = [[c.text or "" for c in q.candidates]], [[c.ended for c in q.candidates]]
        scores = np.array([r.scores([q.prompt], texts, ended)[0] for r in rewards])
        p = 1 / (1 + np.exp(-(scores[:, :, None] - scores[:, None, :])))
        wanted[key] = float(p[:, *np.triu_indices(len(texts[0]), 1)].var(axis=0).mean())
    best = sorted(wanted, key=lambda key: -wanted[key])[:3]
    asked = {q.prompt.id: q.priority for q in added(store, "more") if q.prompt}
    assert asked == pytest.approx({key: 5 + wanted[key] for key in best}, abs=1e-6)
    with Store.open(store) as opened:
        leases = opened.leases(Labeller("ann", "person"), count=3, purpose="more")
        assert [lease.question.prompt.id for lease in leases if lease.question.prompt] == best
    record = read_run(config.folder)
    assert record is not None
    assert [p.ref for p in record.parents if p.kind == "model"][1:] == list(models)
    assert sample.run(config) == chosen


def test_one_model_will_do_for_near_ties_and_none_for_chance(
    ensemble: tuple[str, str, tuple[str, ...]], tmp_path: Path
) -> None:
    near = more(ensemble, tmp_path / "near", purpose="near", select="near_tie", selectors=ensemble[2][:1])
    assert sample.run(near).left_out == 0
    assert all(0 <= q.priority <= 1 for q in added(ensemble[0], "near"))
    blind = more(ensemble, tmp_path / "blind", purpose="blind", select="random", most=2)
    assert sample.run(blind).asked == 2
    drawn = [q.priority for q in added(ensemble[0], "blind")]
    assert set(drawn) <= set(priorities(np.zeros((len(PROMPTS), 1, 2)), "random", seed=7))


def test_nonsense_is_refused_before_anything_is_sampled(
    ensemble: tuple[str, str, tuple[str, ...]], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="2 or more for select 'mix'"):
        sample.run(more(ensemble, tmp_path / "few", select="mix", selectors=ensemble[2][:1]))
    assert not (tmp_path / "few").exists()
    with pytest.raises(ConfigError, match="select"):
        more(ensemble, tmp_path / "x", selectors=ensemble[2])
    with pytest.raises(ConfigError, match="most"):
        more(ensemble, tmp_path / "x", most=0)


def test_the_loop_goes_by_its_earlier_reward_models() -> None:
    loop = pipeline.Config(model="m", store="s", folder=Path("loop"), rounds=4)
    guided = replace(loop, sample=replace(loop.sample, select="disagreement"))
    models = [f"loop/round-{n}/reward/model" for n in (1, 2, 3)]
    assert pipeline._guided(loop, 3) == {}
    assert [pipeline._guided(guided, n) for n in (1, 2)] == [{"select": "random"}] * 2
    assert pipeline._guided(guided, 4) == {"select": "disagreement", "selectors": tuple(models)}
    given = replace(loop, sample=replace(loop.sample, select="near_tie", selectors=("mine",)))
    assert pipeline._guided(given, 3) == {}
