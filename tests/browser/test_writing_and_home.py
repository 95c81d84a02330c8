"""Write and the labeller's home in a real browser, and all labelling pages under axe-core, light and dark."""

import pytest
from browser_kit import PHONE, Site, Visits, axe_faults
from playwright.sync_api import expect

from backflip.records import Prompt


def test_a_demonstration_is_drafted_sent_returned_and_changed(site: Site, visits: Visits) -> None:
    site.project("tea", review=True)
    site.store.add_prompts([Prompt.ask(f"Praise tea number {i}.") for i in range(3)], name="tea")
    page = visits.open(site, "/write")
    prompt = page.locator("#prompt-text")
    expect(prompt).to_contain_text("Praise tea")
    asked = prompt.inner_text()
    page.locator("#answer").fill("It is warm")
    page.reload()
    expect(page.locator("#answer")).to_have_value("It is warm")  # the draft
    assert prompt.inner_text() == asked
    page.locator("#answer").press_sequentially(" and green.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#shelf")).to_contain_text("Waits for review")
    expect(prompt).not_to_have_text(asked)
    page.get_by_role("tab", name="To review").click()
    page.get_by_label("Note to the author").fill("Which tea?")
    page.get_by_role("button", name="Return it").click()
    page.get_by_role("tab", name="Yours").click()
    expect(page.locator("#shelf")).to_contain_text("Which tea?")
    page.get_by_role("button", name="Change").click()
    expect(page.locator("#answer")).to_have_value("It is warm and green.")
    page.locator("#answer").fill("Sencha is warm and green.")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#shelf")).to_contain_text("Waits for review")
    page.get_by_role("tab", name="To review").click()
    page.get_by_role("button", name="Accept").click()
    expect(page.locator("#shelf")).to_contain_text("Nothing waits for a review")
    assert [d.answer for d in site.store.demonstrations(project="tea")] == ["Sencha is warm and green."]


def test_a_demonstration_waits_for_the_network(site: Site, visits: Visits) -> None:
    site.project("tea")
    site.store.add_prompts([Prompt.ask(f"Praise tea number {i}.") for i in range(3)], name="tea")
    page = visits.open(site, "/write/tea")
    expect(page.locator("#prompt-text")).to_contain_text("Praise tea")
    page.wait_for_load_state("networkidle")
    page.context.set_offline(True)
    page.locator("#answer").fill("Warm.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#waiting")).to_have_text("1 answer waits for the network")
    expect(page.locator("#answer")).to_have_value("")  # the next prompt was there already
    page.context.set_offline(False)
    expect(page.locator("#waiting")).to_be_hidden()
    expect(page.locator("#shelf")).to_contain_text("Accepted")
    assert len(list(site.store.demonstrations(project="tea"))) == 1


def test_home_says_what_there_is_to_do(site: Site, visits: Visits) -> None:
    page = visits.open(site, "/")
    expect(page.get_by_role("heading", name="No project yet")).to_be_visible()
    site.rank("tea", 3, candidates=2)
    site.project("coffee", title="Coffee, black", state="paused")
    page.reload()
    expect(page.get_by_role("heading", name="tea")).to_be_visible()
    expect(page.locator("main")).to_contain_text("3 answers wanted")
    expect(page.locator("main")).to_contain_text("Paused")
    page.goto(f"{site.url}/compare")
    expect(page.get_by_role("heading", name="No clips to compare")).to_be_visible()
    page.goto(f"{site.url}/")
    page.get_by_role("link", name="Rank answers").click()
    page.locator(".answer").first.wait_for()
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.wait_for_function("() => !Object.keys(localStorage).some(key => key.startsWith('backflip.outbox.'))")
    page.goto(f"{site.url}/")
    expect(page.locator("#pace-answers")).to_have_text("1")


def test_instructions_open_once_and_when_they_change(site: Site, visits: Visits) -> None:
    site.project("tea", instructions="Prefer the *green* one.")
    site.rank("tea", 2, candidates=2)
    page = visits.open(site, "/rank/tea")
    expect(page.locator("#instructions")).to_contain_text("Prefer the green one.")
    page.keyboard.press("Enter")
    expect(page.locator("#instructions")).to_be_hidden()
    page.reload()
    page.locator(".answer").first.wait_for()
    expect(page.locator("#instructions")).to_be_hidden()
    site.project("tea", instructions="Prefer the *black* one.")
    page.reload()
    expect(page.locator("#instructions")).to_contain_text("black")


@pytest.mark.parametrize("look", [{"color_scheme": "light"}, {"color_scheme": "dark", **PHONE}], ids=["light", "dark"])
def test_axe_finds_no_serious_fault(site: Site, visits: Visits, look: dict[str, object]) -> None:
    site.project("tea", rating=True, flagging=True, review=True, instructions="Prefer the *green* one.")
    site.rank("tea", 2, texts=["# A head\n\n```\ncode\n```", "One. " * 500, "| a | b |\n|-|-|\n| 1 | 2 |"])
    site.store.add_prompts([Prompt.ask("Praise tea.")], name="tea")
    # axe itself is a script from elsewhere; and it must not look while a colour is on its way to another.
    page = visits.open(site, "/", bypass_csp=True, reduced_motion="reduce", **look)
    faults = {"home": axe_faults(page)}
    page.goto(f"{site.url}/rank/tea")
    expect(page.locator("#instructions")).to_be_visible()
    faults["instructions"] = axe_faults(page)
    page.keyboard.press("Enter")
    for key in ("1", "=", "3", "f"):
        page.keyboard.press(key)
    faults["rank"] = axe_faults(page)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    faults["keys"] = axe_faults(page)
    page.keyboard.press("Escape")
    page.goto(f"{site.url}/write/tea")
    page.locator("#answer").fill("It is warm.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#shelf")).to_contain_text("Waits for review")
    faults["write"] = axe_faults(page)
    page.goto(f"{site.url}/compare")
    faults["nothing to compare"] = axe_faults(page)
    assert not any(faults.values()), faults
