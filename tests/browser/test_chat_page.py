"""Chat in a real browser: streaming, side by side with a vote, compared again, blocked, consent and its withdrawal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from browser_kit import PHONE, Site, Visits, axe_faults, serve
from playwright.sync_api import Page, expect

from backflip.chat.model import Sampling
from backflip.lm.engine import EngineConfig
from backflip.lm.hub import tiny_model
from backflip.records import Answer
from backflip.safety.rules import WordList
from backflip.studio.chat import opening, room
from backflip.studio.chat.limits import Limits

SHOTS = os.environ.get("BACKFLIP_SHOTS")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("chat") / "model").folder


@pytest.fixture
def chat(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(opening, "load_filters", lambda _: WordList({"bad": ["forbidden fruit"]}))
    seeds = count(1)  # else a model that was never trained may end at its first token, now and then
    monkeypatch.setattr(room, "Sampling", lambda max_tokens: Sampling(max_tokens, seed=next(seeds)))
    monkeypatch.setattr(opening, "Limits", lambda: Limits(longest=24))
    monkeypatch.setattr(opening, "EngineConfig", lambda: EngineConfig(rows=4, context=512))
    with serve(tmp_path / "studio", chat=True) as site:
        models = [f"early={folder}", f"late={folder}"]
        service = opening.open_chat(site.app, models, ["words"], "chat", site.runs)
        yield site
        service.close()


def say(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.keyboard.press("Enter")


def shot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{name}.png")


def votes(site: Site) -> list[Answer]:
    return [numbered.answer for numbered in site.store.answers(project="chat")]


def test_side_by_side_voted_on_and_kept_with_consent(chat: Site, visits: Visits) -> None:
    page = visits.open(chat, "/chat")
    page.check("#consent")
    say(page, "Write to ann@example.org about tea")
    page.locator(".better").nth(1).wait_for()
    assert "early" not in page.locator("#log").inner_text()
    page.locator(".chat-answer").nth(1).get_by_role("button", name="Good answer").click()
    assert axe_faults(page) == []
    shot(page, "desktop")
    page.locator(".better").nth(1).click()
    expect(page.get_by_text("Thank you: your vote is kept.")).to_be_visible()
    assert sorted(page.locator(".chat-name").all_inner_texts()) == ["early", "late"]
    (answer,) = votes(chat)
    question = chat.store.question(answer.question)
    assert answer.source == "chat"
    assert list(answer.ratings.values()) == [7]
    assert answer.tiers[0] == tuple(answer.ratings)
    assert {candidate.origin for candidate in question.candidates} == {"early", "late"}
    (prompt,) = chat.store.prompts(name="chat")
    assert prompt.messages[-1].content == "Write to [email] about tea"
    page.click("#forget")
    expect(page.get_by_text("1 message was removed")).to_be_visible()
    assert list(chat.store.prompts(name="chat")) == []
    page.reload()
    expect(page.locator("#consent")).to_be_checked()


def test_one_model_then_another_answer_to_compare(chat: Site, visits: Visits) -> None:
    page = visits.open(chat, "/chat", **PHONE, color_scheme="dark")
    page.select_option("#who", "name:late")
    say(page, "hello")
    page.get_by_role("button", name="Another answer, to compare").click()
    page.locator(".better").nth(1).wait_for()
    shot(page, "phone-dark")
    page.get_by_role("button", name="They are equal").click()
    expect(page.get_by_text("Your vote is not kept.")).to_be_visible()
    assert page.locator(".chat-name").all_inner_texts() == ["late", "late"]
    assert votes(chat) == []
    assert list(chat.store.prompts(name="chat")) == []
    assert axe_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_what_is_blocked_is_said_and_listed_for_review(chat: Site, visits: Visits) -> None:
    page = visits.open(chat, "/chat")
    page.check("#consent")
    say(page, "I want forbidden fruit")
    expect(page.get_by_text("Your message was blocked by the safety filter.").first).to_be_visible()
    expect(page.locator(".better")).to_have_count(0)
    say(page, "hello")  # the blocked turn is not part of the talk
    page.locator(".better").nth(1).wait_for()
    shot(page, "blocked")
    assert len(list(chat.store.prompts(name="chat"))) == 1
    page.goto(f"{chat.url}/chat/blocked")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.locator("summary", has_text="Show").first.click()
    expect(page.get_by_text("I want forbidden fruit").first).to_be_visible()
    shot(page, "review")
    assert axe_faults(page) == []


def test_a_studio_without_models_has_no_chat(site: Site, visits: Visits) -> None:
    page = visits.open(site, "/account")
    expect(page.get_by_role("link", name="Chat")).to_have_count(0)
    assert page.goto(f"{site.url}/chat").status == 404  # type: ignore[union-attr]
