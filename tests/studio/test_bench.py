"""What a labeller's home offers: which work a project has, and whether they may do it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from studio_kit import PROJECT, Site, ask

from backflip.feedback.projects import QUALIFICATION, Project
from backflip.feedback.store import Store
from backflip.records import Candidate, Prompt, Question
from backflip.studio.bench import Place, place_of, places_of
from backflip.studio.refusals import NotFound
from backflip.studio.users import User

ANN = User("ann", "ann", "labeller")
BOSS = User("boss", "boss", "admin")


@pytest.fixture
def store(tmp_path: Path, store_clock: Any) -> Iterator[Store]:
    """SQLite alone: nothing here depends on the database."""
    with Store.open(tmp_path / "feedback.db", clock=store_clock) as opened:
        yield opened


def place(site: Site, user: User = ANN) -> Place:
    return place_of(site.studio, user, PROJECT)


def test_the_work_is_what_there_are_questions_and_prompts_for(site: Site) -> None:
    site.person("ann")
    site.project()
    assert place(site).work == ()
    site.fill(2)
    assert place(site).work == ("rank",)
    clips = tuple(Candidate(media=f"{digit * 64}.mp4") for digit in "01")
    site.store.add_questions([Question("clip", clips)])
    site.store.add_prompts([Prompt.ask("Praise tea.")], name=PROJECT)
    assert place(site).work == ("rank", "compare", "write")


def test_whether_one_may(site: Site) -> None:
    site.person("ann")
    site.fill(1)
    site.store.add_questions([ask(9, purpose=QUALIFICATION)])
    assert place(site).standing == "open"
    site.project(qualification=0.8)
    assert (place(site).standing, place(site, BOSS).standing) == ("qualification", "open")
    for passed, standing in ((False, "unqualified"), (True, "open")):
        site.studio.accounts.people.qualify("ann", PROJECT, passed)
        assert place(site).standing == standing
    site.project(state="paused")
    assert place(site).standing == "paused"


def test_questions_of_a_qualification_alone_are_work_only_where_it_is_asked_for(site: Site) -> None:
    site.person("ann")
    site.project()
    site.store.add_questions([ask(9, purpose=QUALIFICATION)])
    assert place(site).work == ()
    site.project(qualification=0.8)
    assert place(site).work == ("rank",)


def test_what_can_be_done_comes_first_and_others_projects_not_at_all(site: Site) -> None:
    for name in ("a-paused", "b-empty", "c-open", "d-others"):
        site.studio.projects.save(Project(name, state="paused" if name == "a-paused" else "open"))
    for name in ("a-paused", "c-open"):
        site.store.add_questions([ask(len(name))], project=name)
    site.person("ann", projects=("a-paused", "b-empty", "c-open"))
    assert [found.name for found in places_of(site.studio, ANN)] == ["c-open", "a-paused", "b-empty"]
    with pytest.raises(NotFound):
        place_of(site.studio, ANN, "d-others")


def test_instructions_are_clean_html(site: Site) -> None:
    site.project(instructions="*Look* <script>alert(1)</script>", title="")
    found = place(site, BOSS)
    assert found.title == PROJECT
    assert "<em>Look</em>" in found.instructions
    assert "<script>" not in found.instructions


def test_the_only_project_is_opened_at_once(site: Site) -> None:
    site.fill(1)
    ann = site.person("ann")
    assert ann.get("/rank").headers["location"] == f"/rank/{PROJECT}"
    assert "Nothing to write" in ann.get("/write").text
    assert ann.get("/").status_code == 200
