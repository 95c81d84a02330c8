"""The operator's pages in a real browser: a team is set up, a run moves, figures are read, all of it accessible."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from browser_kit import PHONE, Site, Visits, axe_faults, serve
from playwright.sync_api import Page, expect

from backflip.feedback.projects import GOLD
from backflip.records import Answer, Labeller, Prompt, Question
from backflip.runs import Run, Written, append_texts, open_run
from backflip.studio.accounts.invitations import Invitations

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Config:
    """A configuration."""

    rate: float = 0.1


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Site]:
    """A studio with accounts, where nobody has one yet."""
    with serve(tmp_path / "team", accounts=True) as site:
        yield site


def join(visits: Visits, site: Site, link: str, name: str, **options: str) -> Page:
    page = visits.open(site, link.removeprefix(site.url), sign_in=False, **options)
    page.locator("input[name=name]").fill(name)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("main button").click()
    page.wait_for_url(lambda url: "/invitation/" not in url)
    return page


def sure(page: Page) -> None:
    """Says yes to what asks first."""
    page.locator("dialog button[value=yes]").click()


def a_run(folder: Path, updates: int) -> Run:
    """A run that is under way, with a few lines of metrics and a text."""
    with open_run(folder, recipe="ppo", config=Config(), seed=1) as run:
        for step in range(1, updates + 1):
            run.metrics.write(step, {"objective/score": step / 10, "objective/kl": float(step), "time/train": 1.0})
            text = Written.to(Prompt.ask("Why?"), step=step, text=f"Because {step}.", ended=True, score=step / 10)
            append_texts(folder, [text])
        run.finish({"model": "m"})
        return run


def answered(site: Site, name: str) -> list[Question]:
    """Three people answer six questions, each in an order of their own; one question is gold."""
    questions = site.rank(name, 6, candidates=3)
    site.store.add_questions(questions, overlap=3, project=name)
    gold = Question("text", questions[0].candidates, questions[0].prompt, purpose=GOLD)
    site.store.add_questions([gold], overlap=1000, project=name)
    maker = Labeller("maker:local", "maker")
    site.store.answer(Answer(gold.id, maker, tuple((c.id,) for c in gold.candidates)))
    for turn, who in enumerate(("ann", "bo", "chen")):
        labeller = Labeller(who, "person", {"language": "English" if turn < 2 else "中文"})
        for question in [*questions, gold]:
            ids = [c.id for c in question.candidates]
            order = ids[turn:] + ids[:turn] if question in questions[:2] else ids
            tiers = tuple((c,) for c in order)
            given = Answer(question.id, labeller, tiers, tuple(ids), seconds=5.0 + turn, time="2026-11-24T10:00:00")
            site.store.answer(given)
    return questions


def test_an_admin_sets_up_a_team(team: Site, visits: Visits) -> None:
    word = Invitations(team.store.database, time.time).make(role="admin", inviter="")
    admin = join(visits, team, f"{team.url}/invitation/{word}", "ada")
    admin.goto(f"{team.url}/admin")
    admin.get_by_label("Name").fill("tea")
    admin.get_by_label("Title").fill("Which tea?")
    admin.get_by_role("button", name="Make the project").click()
    admin.get_by_label("Instructions (Markdown)").fill("Choose the **best** one.\n\n<script>alert(1)</script>")
    expect(admin.locator("#preview strong")).to_have_text("best")
    expect(admin.locator("#preview script")).to_have_count(0)
    admin.get_by_label("Answers wanted to a question").fill("2")
    admin.get_by_role("button", name="Save").click()
    expect(admin.get_by_role("status").first).to_have_text("Saved.")

    admin.get_by_role("link", name="Queue").click()
    line = b'{"prompt": "Which?", "answers": ["Assam", "Ceylon", "Yunnan"]}\n'
    admin.set_input_files("#file", {"name": "q.jsonl", "mimeType": "application/jsonl", "buffer": line + b"{}\n"})
    admin.get_by_role("button", name="Import").click()
    expect(admin.get_by_role("alert")).to_contain_text("q.jsonl line 2")  # and nothing of it came in
    admin.set_input_files("#file", {"name": "q.jsonl", "mimeType": "application/jsonl", "buffer": line})
    admin.get_by_role("button", name="Import").click()
    expect(admin.get_by_role("status").first).to_contain_text("Imported: 1 new")

    admin.goto(f"{team.url}/admin/people")
    admin.locator("#project").select_option("tea")
    admin.get_by_role("button", name="Make a link").click()
    link = admin.locator("#link").inner_text()
    bo = join(visits, team, link, "bo")
    bo.goto(f"{team.url}/rank")
    bo.get_by_role("button", name="Begin").click()  # the instructions are shown first
    expect(bo.locator(".answer")).to_have_count(3)
    assert bo.goto(f"{team.url}/admin").status == 403  # type: ignore[union-attr]

    admin.goto(f"{team.url}/admin/projects/tea")
    admin.get_by_role("button", name="Pause").click()
    admin.locator("dialog button[value=no]").click()
    expect(admin.locator(".page-head .badge")).to_have_text("open")
    admin.get_by_role("button", name="Pause").click()
    sure(admin)
    expect(admin.locator(".page-head .badge")).to_have_text("paused")
    admin.goto(f"{team.url}/admin/audit")
    expect(admin.locator("tbody")).to_contain_text("imported questions")

    bo.goto(f"{team.url}/rank/tea")
    expect(bo.locator(".answer")).to_have_count(3)  # what was out already may be answered
    for key in ("1", "2", "3", "Enter"):
        bo.keyboard.press(key)
    expect(bo.locator("main")).to_contain_text("This project is paused")


def test_signing_in_and_the_language(team: Site, visits: Visits) -> None:
    word = Invitations(team.store.database, time.time).make(role="labeller", inviter="")
    join(visits, team, f"{team.url}/invitation/{word}", "chen", locale="zh-CN")
    page = visits.open(team, "/account", sign_in=False, locale="zh-CN")
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")  # the browser's wish
    page.locator("input[name=name]").fill("chen")
    page.locator("input[name=password]").fill("wrong password")
    page.locator("main button").click()
    expect(page.locator("[role=alert]")).to_be_visible()
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("main button").click()
    expect(page.locator("h1")).to_have_text("我的账户")
    page.locator("#language").select_option("en")
    page.locator("form[action='/language'] button").last.click()
    expect(page.locator("h1")).to_have_text("Your account")
    page.goto(f"{team.url}/runs")
    page.locator(".menu summary").click()
    page.locator(".menu-list").get_by_role("button", name="简体中文").click()
    expect(page.locator("h1")).to_have_text("运行")
    expect(page.locator("#none")).to_contain_text("还没有运行")


def test_a_run_moves_while_one_looks_on(site: Site, visits: Visits) -> None:
    with open_run(site.runs / "ppo", recipe="ppo", config=Config(), seed=1) as run:
        run.metrics.write(1, {"objective/score": 0.5, "objective/kl": 1.0})
        page = visits.open(site, "/runs")
        row = page.locator("tr[data-run=ppo]")
        expect(row).to_contain_text("running")
        page.get_by_role("link", name="ppo").click()
        score = page.locator("[data-metric='objective/score'] b")
        expect(score).to_have_text("0.5")
        run.metrics.write(2, {"objective/score": 0.75, "objective/kl": 2.0, "judge/score": 0.125})
        expect(score).to_have_text("0.75")
        expect(page.locator("[data-metric='judge/score'] b")).to_have_text("0.125")  # a metric that is new
        expect(page.locator("#step")).to_have_text("step 2")
        text = Written.to(Prompt.ask("Why?"), step=2, text="<b>Because</b>.", ended=True, score=0.5)
        append_texts(run.folder, [text])
        expect(page.locator(".written")).to_have_text("<b>Because</b>.")
        run.metrics.truncate(1)  # a resumed run
        run.metrics.write(2, {"objective/score": -1.0})
        expect(score).to_have_text("-1")
        run.finish({"model": "m"})
    expect(page.locator("#status")).to_have_text("done")
    expect(page.locator("main")).to_contain_text("model")
    assert page.locator(".uplot canvas").count() >= 2


def test_figures_are_read_and_disputes_opened(site: Site, visits: Visits) -> None:
    answered(site, "tea")
    page = visits.open(site, "/quality")
    page.wait_for_url(re.compile("/quality/tea"))
    rows = page.locator("section", has=page.locator("#labellers-title")).locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("7")  # answers
    expect(rows.first).to_contain_text("1 / 1")  # gold
    expect(page.get_by_role("heading", name="By language")).to_be_visible()
    dispute = page.locator("details.dispute")
    assert dispute.count() == 2
    expect(dispute.first).to_contain_text("Consensus")
    assert not axe_faults(page)


def test_no_page_has_a_serious_fault(site: Site, visits: Visits) -> None:
    site.project("tea", title="Which tea?", instructions="Choose *well*.", groups=("language",))
    questions = answered(site, "tea")
    a_run(site.runs / "ppo", 4)
    page = visits.open(site, "/runs", color_scheme="dark")
    faults = []
    for path in (
        "/runs",
        "/runs/ppo",
        "/quality/tea",
        "/account",
        "/admin",
        "/admin/projects/tea",
        "/admin/projects/tea/queue",
        "/admin/projects/tea/tests",
        f"/admin/projects/tea/tests/new?question={questions[0].id}",
        "/admin/people",
        "/admin/audit",
    ):
        page.goto(site.url + path)
        if path == "/runs/ppo":
            page.locator(".uplot").first.wait_for()
        faults += [f"{path} {fault}" for fault in axe_faults(page)]
    assert not faults


def test_the_pages_fit_a_phone(site: Site, visits: Visits) -> None:
    answered(site, "tea")
    a_run(site.runs / "ppo", 4)
    page = visits.open(site, "/runs", **PHONE)
    for path in ("/runs", "/runs/ppo", "/quality/tea", "/account", "/admin/projects/tea/queue", "/admin/people"):
        page.goto(site.url + path)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, f"{path} is {width} wide"


def test_an_answer_is_withdrawn_and_a_token_made(site: Site, visits: Visits) -> None:
    (question, *_) = site.rank("tea", 1, candidates=2)
    page = visits.open(site, "/account")
    page.get_by_label("What it is for").fill("judge")
    page.get_by_role("button", name="Make a token").click()
    expect(page.locator("#token")).to_have_text(re.compile("^bf_"))
    site.store.answer(Answer(question.id, Labeller("local", "person"), tuple((c.id,) for c in question.candidates)))
    page.goto(f"{site.url}/account")
    page.get_by_role("button", name="Withdraw").click()
    sure(page)
    expect(page.get_by_role("status").first).to_contain_text("The answer is withdrawn")
    assert site.answers("tea") == []
