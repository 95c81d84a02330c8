"""Quality: figures by hand on a small project, what a labeller may see, and the reward model that learned from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from studio_kit import PROJECT, Site, ask

from backflip.feedback.projects import GOLD, QUALIFICATION
from backflip.feedback.store import Store
from backflip.records import Answer, Labeller, Question
from backflip.runs import Parent, open_run
from backflip.studio.figures import figures, newest_reward_model, own_figures


@pytest.fixture
def store(tmp_path: Path, store_clock: Any) -> Iterator[Store]:
    """SQLite alone: nothing here depends on the database."""
    with Store.open(tmp_path / "feedback.db", clock=store_clock) as opened:
        yield opened


def say(store: Store, who: str, question: Question, order: str, *, kind: Any = "person", **more: Any) -> int:
    """An answer: `order` are places of the candidates, best first."""
    ids = [c.id for c in question.candidates]
    groups = {"language": "English" if who in ("ann", "bo") else "中文"}
    tiers = tuple((ids[int(i)],) for i in order)
    given = Answer(question.id, Labeller(who, kind, groups), tiers, tuple(ids), time="2026-11-24T10:00:00", **more)
    return store.answer(given)


@pytest.fixture
def answered(store: Store) -> list[Question]:
    """Two questions of two candidates: ann and bo agree on both, chen differs on the second; a judge answers one."""
    questions = [ask(1), ask(2)]
    store.add_questions(questions, overlap=4, project=PROJECT)
    for who, orders in {"ann": ("01", "01"), "bo": ("01", "01"), "chen": ("01", "10")}.items():
        for question, order in zip(questions, orders, strict=True):
            say(store, who, question, order, seconds=10.0)
    say(store, "judge", questions[0], "01", kind="simulated")
    return questions


def test_the_figures_by_hand(store: Store, answered: list[Question]) -> None:
    found = figures(store, PROJECT, kind="person")
    assert (found.answers, found.questions, found.several, found.left_out) == (6, 2, 2, 0)
    assert found.kinds == {"person": 6, "simulated": 1}
    assert found.overall.agreement is not None
    assert found.overall.agreement.value == pytest.approx(4 / 6)  # 3 of 3 pairs of people, then 1 of 3
    assert found.overall.pace.median == 10.0
    assert found.overall.position is not None
    assert found.overall.position.earlier.value == pytest.approx(5 / 6)
    assert {line.name: line.pace.answers for line in found.labellers} == {"ann": 2, "bo": 2, "chen": 2}
    by_name = {line.name: line for line in found.labellers}
    assert by_name["chen"].agreement is not None
    assert by_name["chen"].agreement.value == pytest.approx(2 / 4)
    (language,) = found.groups
    english = next(line for line in found.groups[language] if line.name == "English")
    assert english.agreement is not None
    assert english.agreement.value == 1.0
    (dispute,) = found.disputes
    assert dispute.question == answered[1]
    assert dispute.consensus is not None
    assert dispute.consensus.tiers[0] == (answered[1].candidates[0].id,)
    assert figures(store, PROJECT).answers == 7


def test_tests_are_apart(store: Store, answered: list[Question]) -> None:
    gold, entry = ask(1, purpose=GOLD), ask(2, purpose=QUALIFICATION)
    store.add_questions([gold, entry], overlap=1000, project=PROJECT)
    say(store, "maker", gold, "01", kind="maker")
    say(store, "ann", gold, "01")
    say(store, "bo", gold, "10")
    say(store, "chen", entry, "10")
    found = figures(store, PROJECT, kind="person")
    assert found.several == 2, "agreement is of usual questions alone"
    marks = {line.name: line.gold and (line.gold.passed, line.gold.asked) for line in found.labellers}
    assert marks == {"ann": (1, 1), "bo": (0, 1), "chen": None}
    assert "maker" not in {line.name for line in found.labellers}
    own = own_figures(store, PROJECT, "bo")
    assert own is not None
    assert own.pace.answers == 3
    assert own_figures(store, PROJECT, "nobody") is None


def test_nothing_answered_is_no_error(store: Store) -> None:
    found = figures(store, PROJECT)
    assert (found.answers, found.overall.agreement, found.alpha, found.tau) == (0, None, None, None)


@dataclass(frozen=True)
class Config:
    """What a reward run's configuration must have here."""

    project: str = PROJECT


def test_the_newest_reward_model_of_this_store(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "runs"

    def train(name: str, source: Path, accuracy: float, project: str = PROJECT) -> None:
        parents = [Parent("answers", str(source), {"up_to": 1})]
        with open_run(
            root / name, recipe="reward", config=Config(project), seed=1, parents=parents, root=tmp_path
        ) as run:
            run.finish({"accuracy": {"value": accuracy, "low": 0.1, "high": 0.9}})

    (tmp_path / "other.db").touch()
    assert newest_reward_model(store, root, PROJECT) is None
    train("a", tmp_path / "feedback.db", 0.6)
    train("b", tmp_path / "feedback.db", 0.7)
    train("c", tmp_path / "other.db", 0.8)
    train("d", tmp_path / "feedback.db", 0.9, project="another")
    found = newest_reward_model(store, root, PROJECT)
    assert found is not None
    assert (found.run.name, found.value) == ("b", 0.7)


def test_a_labeller_sees_only_own_figures(site: Site, store: Store, answered: list[Question]) -> None:
    ann, vera = site.person("ann"), site.person("vera", "viewer")
    site.person("zoe", projects=())
    own = ann.get(f"/quality/{PROJECT}").text
    assert "Your figures" in own
    assert not {"bo", "chen", "judge"} & set(own.split())
    page = vera.get(f"/quality/{PROJECT}").text
    assert all(who in page for who in ("ann", "bo", "chen", "judge", "By language", "Consensus"))
    assert "a &gt; b" not in page


def test_another_project_is_none_of_theirs(site: Site, answered: list[Question]) -> None:
    zoe = site.person("zoe", projects=())
    assert zoe.get(f"/quality/{PROJECT}").status_code == 404
    assert "No project yet" in zoe.get("/quality").text


def test_figures_follow_answers_and_withdrawals(site: Site, store: Store, answered: list[Question]) -> None:
    vera = site.person("vera", "viewer")
    assert "7 <small>to 2 questions" in vera.get(f"/quality/{PROJECT}").text
    store.withdraw("chen", "tired")
    assert "5 <small>to 2 questions" in vera.get(f"/quality/{PROJECT}").text
