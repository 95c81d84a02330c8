"""Whose values: groups that want opposite things, a reward for each, and one reward for all."""

from __future__ import annotations

import random
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from backflip.errors import DataError, ModelError
from backflip.feedback.intervals import told
from backflip.feedback.store import Store
from backflip.lm.groups import GroupHeads, PairsOfGroups, combined, fit_heads
from backflip.lm.hub import tiny_model
from backflip.lm.parents import parent_of
from backflip.lm.rewards import RewardFolder, WorstReward, load_reward, weighted
from backflip.recipes import values
from backflip.recipes.data import ImportFile, import_rankings
from backflip.records import Answer, Candidate, Labeller, Prompt, Question


def _question(i: int, *texts: str) -> Question:
    return Question("text", tuple(Candidate(text) for text in texts), Prompt.ask(f"What is thing {i}?"))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[values.Config, values.Result]:
    """Two groups of 30 answers each: one prefers the answer about rain, the other the one about the moon."""
    folder = tmp_path_factory.mktemp("values")
    model = tiny_model(folder / "tiny").folder
    with Store.open(str(folder / "feedback.db")) as store:
        wets = set(random.Random(3).sample(range(60), 30))  # so that the prompt does not tell whose it is
        for i in range(60):
            question = _question(i, "rain rain", "the moon")
            rain, moon = (c.id for c in question.candidates)
            wet = i in wets
            labeller = Labeller("wet" if wet else "dry", "person", {"taste": "rain" if wet else "moon"})
            store.add_questions([question])
            store.answer(Answer(question.id, labeller, ((rain,), (moon,)) if wet else ((moon,), (rain,))), key=str(i))
    config = values.Config(
        folder / "run", str(folder / "feedback.db"), str(model), by="taste", folds=2, least=5, weights={"rain": 1.0}
    )
    return config, values.run(config)


def test_each_group_gets_its_own_reward(ran: tuple[values.Config, values.Result]) -> None:
    _, found = ran
    assert found.groups == {"moon": 30, "rain": 30}
    for kind in ("heads", "embedding", "alone"):
        assert found.accuracy[kind]["all"]["value"] > 0.9
    assert found.accuracy["pooled"]["all"]["value"] < 0.7, "nobody can please both"
    assert found.gain["heads"]["all"]["low"] > 0.2
    rain = found.choices["rain alone"]
    assert rain["rain"]["value"] > 0.9
    assert rain["moon"]["value"] < 0.1, "what one group's reward costs the other"
    assert found.choices["weighted"] == rain, "all the weight on rain is rain alone"
    assert found.accuracy["heads"]["all"]["n"] == 60


def test_the_table_fits_a_narrow_terminal(ran: tuple[values.Config, values.Result]) -> None:
    console = Console(width=80, record=True, file=StringIO())
    console.print(ran[1])
    said = console.export_text()
    assert "…" not in said
    heads = ran[1].accuracy["heads"]["moon"]
    assert "fitted: heads" in said
    assert told(heads, ".3f") in said


def test_the_same_folder_is_done(ran: tuple[values.Config, values.Result]) -> None:
    config, found = ran
    assert values.run(config).accuracy == found.accuracy


def test_ppo_takes_a_groups_reward_by_name(ran: tuple[values.Config, values.Result]) -> None:
    _, found = ran
    rain, moon = (load_reward(f"{found.model}#{name}") for name in ("rain", "moon"))
    assert isinstance(rain, RewardFolder)
    prompts, answers = [Prompt.ask("What is thing 99?")], [["rain rain", "the moon"]]
    ((rain_wet, rain_dry),), ((moon_wet, moon_dry),) = (r.scores(prompts, answers) for r in (rain, moon))
    assert rain_wet > rain_dry
    assert moon_dry > moon_wet
    specs = [(f"{found.model}#rain", 1.0), (f"{found.model}#moon", 2.0)]
    worst = weighted(specs, worst=True)
    assert isinstance(worst, WorstReward)
    assert worst.scores(prompts, answers)[0] == pytest.approx(
        [min(rain_wet, 2 * moon_wet), min(rain_dry, 2 * moon_dry)]
    )
    assert weighted(specs).scores(prompts, answers)[0] == pytest.approx(
        [rain_wet + 2 * moon_wet, rain_dry + 2 * moon_dry]
    )
    assert parent_of(f"{found.model}#rain") == parent_of(found.model), "the family tree knows it by its folder"
    with pytest.raises(ModelError, match="no reward of group 'snow'"):
        load_reward(f"{found.model}#snow")
    with pytest.raises(ModelError, match="name one of moon, rain after a #"):
        load_reward(found.model)


def test_one_group_is_refused(ran: tuple[values.Config, values.Result], tmp_path: Path) -> None:
    config, _ = ran
    with pytest.raises(DataError, match="wanted two or more"):
        values.run(values.Config(tmp_path / "run", config.store, config.model, by="no_such_attribute"))
    assert not (tmp_path / "run").exists()


def test_heads_against_a_slow_fit() -> None:
    """Gradient descent on the stated loss, written out, comes to the same heads."""
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(30, 4, generator=draw)
    better, worse = torch.randint(30, (60,), generator=draw), torch.randint(30, (60,), generator=draw)
    keep = better != worse
    pairs = PairsOfGroups(better, worse, torch.arange(60) % 2, torch.ones(60), torch.ones(60)).where(keep)
    found = fit_heads(states, pairs, groups=2, kind="heads", ridge=0.05, own=0.2)
    scaled = (states / states.std(dim=0, correction=0)).double()
    shared, own = torch.zeros(4, dtype=torch.float64), torch.zeros(2, 4, dtype=torch.float64)
    for _ in range(4000):
        shared.requires_grad_(), own.requires_grad_()
        weight = shared + own[pairs.group]
        margin = ((scaled[pairs.better] - scaled[pairs.worse]) * weight).sum(-1)
        fit = -torch.nn.functional.logsigmoid(margin).mean()
        loss = fit + 0.05 * shared.pow(2).sum() + 0.2 * own.pow(2).sum() / 2
        slopes = torch.autograd.grad(loss, (shared, own))
        shared, own = (shared - 0.5 * slopes[0]).detach(), (own - 0.5 * slopes[1]).detach()
    slow = ((shared + own) / states.std(dim=0, correction=0)).float()
    assert torch.allclose(found.weight, slow, atol=1e-4)


def test_combining_by_hand() -> None:
    scores = torch.tensor([[1.0, -1.0], [0.0, 2.0]])
    assert combined(scores, "mean").tolist() == [0.0, 1.0]
    assert combined(scores, "worst").tolist() == [-1.0, 0.0]
    assert combined(scores, "mean", [3.0, 1.0]).tolist() == [0.5, 0.5]
    heads = GroupHeads(torch.tensor([[2.0], [-1.0]]), torch.zeros(2)).standardised(torch.tensor([[1.0], [3.0]]))
    assert heads.scores(torch.tensor([[1.0], [3.0]])).tolist() == [[-1.0, 1.0], [1.0, -1.0]]


def test_imports_may_name_the_labellers_group(tmp_path: Path) -> None:
    file, store = tmp_path / "a.jsonl", str(tmp_path / "f.db")
    file.write_text('{"chosen": "\\n\\nHuman: a\\n\\nAssistant: b", "rejected": "\\n\\nHuman: a\\n\\nAssistant: c"}\n')
    import_rankings(ImportFile(file, store, "hh", labeller="kind", groups={"aim": "helpful"}))
    with Store.open(store) as opened:
        (numbered,) = opened.answers()
    assert numbered.answer.labeller == Labeller("kind", "import", {"aim": "helpful"})
