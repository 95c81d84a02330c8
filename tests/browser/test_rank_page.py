"""Rank in a real browser: keys, mouse, ties, undo, what a labeller cannot or will not judge, and what a model wrote."""

import re

from browser_kit import PHONE, Site, Visits
from playwright.sync_api import Page, expect

from backflip.feedback.projects import Flag


def ready(page: Page) -> None:
    page.locator(".answer").first.wait_for()


def shown(page: Page) -> list[str]:
    """The candidates' ids in the shown order."""
    return page.locator(".answer").evaluate_all("cards => cards.map(card => card.dataset.id)")


def sent(site: Site, page: Page, name: str, count: int) -> None:
    """Waits until the outbox is empty and the store has so many answers."""
    page.wait_for_function("() => !Object.keys(localStorage).some(key => key.startsWith('backflip.outbox.'))")
    assert len(site.answers(name)) == count


def test_five_are_ranked_by_keys_with_a_tie(site: Site, visits: Visits) -> None:
    site.rank("tea", 2)
    page = visits.open(site, "/rank")
    ready(page)
    order = shown(page)
    for key in "31=25":
        page.keyboard.press(key)
    expect(page.locator("#hint")).to_have_text("Send now puts answer 4 last")
    expect(page.locator(".tier.is-tied .chip")).to_have_count(2)
    page.keyboard.press("Enter")
    page.wait_for_function(f"() => document.querySelector('.answer').dataset.id !== {order[0]!r}")
    sent(site, page, "tea", 1)
    (answer,) = site.answers("tea")
    assert answer.tiers == ((order[2],), (order[0], order[1]), (order[4],), (order[3],))
    assert answer.shown == tuple(order)
    assert answer.seconds is not None
    assert 0 < answer.seconds < 60


def test_five_are_ranked_by_mouse(site: Site, visits: Visits) -> None:
    site.rank("tea", 1)
    page = visits.open(site, "/rank/tea")
    ready(page)
    order = shown(page)

    def drag(number: int, target: str, *, place: int = 0, shown: list[str]) -> None:
        chip = page.locator(f'.chip[data-id="{order[number - 1]}"]')
        start, end = chip.bounding_box(), page.locator(target).nth(place).bounding_box()
        assert start
        assert end
        page.mouse.move(start["x"] + 20, start["y"] + start["height"] / 2)
        page.mouse.down()
        x, y = end["x"] + end["width"] / 2, end["y"] + end["height"] / 2
        page.mouse.move(x, y, steps=12)
        page.mouse.move(x, y - 1)  # a hand is never quite still
        page.locator(target).nth(place).locator(".is-ghost").wait_for()  # and lets go when it sees where
        page.mouse.up()
        expect(page.locator(".ladder:not(.is-dragging) .tier")).to_have_text(
            [re.compile(f"^Answer {t},") for t in shown]
        )

    drag(2, ".gap .drop", shown=["2"])
    for number in (4, 1):  # a click on an answer's number ranks it next
        page.locator(".answer .tag").nth(number - 1).click()
    drag(5, ".gap .drop", place=3, shown=["2", "4", "1", "5"])  # below the last
    drag(3, ".tier .drop", place=0, shown=["2", "4", "1", "5"])  # level with the best
    expect(page.locator(".tier.is-tied .chip")).to_have_count(2)
    page.locator("#submit").click()
    expect(page.locator("#state")).to_contain_text("Nothing to do for now")
    sent(site, page, "tea", 1)
    (answer,) = site.answers("tea")
    assert set(answer.tiers[0]) == {order[1], order[2]}
    assert answer.tiers[1:] == ((order[3],), (order[0],), (order[4],))


def test_the_chosen_one_is_moved_and_tied_by_keys(site: Site, visits: Visits) -> None:
    site.rank("tea", 1, candidates=3)
    page = visits.open(site, "/rank/tea")
    ready(page)
    order = shown(page)
    for key in ("1", "2", "3", "Shift+ArrowUp", "Shift+ArrowUp", "2", "t"):
        page.keyboard.press(key)
    page.keyboard.press("Backspace")
    page.keyboard.press("Enter")
    sent(site, page, "tea", 1)
    (answer,) = site.answers("tea")
    assert answer.tiers == ((order[2],), (order[0],), (order[1],))


def test_undo_brings_the_last_answer_back_from_the_server(site: Site, visits: Visits) -> None:
    site.rank("tea", 2, candidates=2)
    page = visits.open(site, "/rank/tea")
    ready(page)
    order = shown(page)
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    sent(site, page, "tea", 1)
    page.keyboard.press("u")
    expect(page.locator(f'.answer[data-id="{order[0]}"]')).to_be_visible()
    assert site.answers("tea") == []  # withdrawn
    expect(page.locator(".tier")).to_have_count(2)  # as it was ranked
    page.keyboard.press("0")
    page.keyboard.press("ArrowLeft")  # of two: the left one is better
    page.keyboard.press("Enter")
    sent(site, page, "tea", 1)
    assert site.answers("tea")[0].tiers == ((order[0],), (order[1],))


def test_what_cannot_be_judged_is_told_apart(site: Site, visits: Visits) -> None:
    site.rank("tea", 3, candidates=2)
    page = visits.open(site, "/rank/tea")
    ready(page)
    first = shown(page)
    page.keyboard.press("c")
    sent(site, page, "tea", 1)
    assert site.answers("tea")[0].cannot_tell
    passed = shown(page)
    assert passed != first
    page.keyboard.press("o")  # somebody else gets it; until then it can be undone
    expect(page.locator(f'.answer[data-id="{passed[0]}"]')).to_have_count(0)
    page.keyboard.press("u")
    expect(page.locator(f'.answer[data-id="{passed[0]}"]')).to_be_visible()
    page.keyboard.press("o")
    page.keyboard.press("s")
    expect(page.locator("#state")).to_contain_text("Nothing to do for now")
    page.wait_for_function(
        "() => Object.keys(localStorage).filter(key => key.startsWith('backflip.outbox.')).length === 1"
    )
    assert len(site.answers("tea")) == 1


def test_ratings_flags_and_a_note_by_keys(site: Site, visits: Visits) -> None:
    flags = (Flag("wrong", "Wrong"), Flag("rude", "Rude"))
    site.project("tea", rating=True, flagging=True, flags=flags)
    site.rank("tea", 1, candidates=2)
    page = visits.open(site, "/rank/tea")
    ready(page)
    order = shown(page)
    page.keyboard.press("1")
    page.keyboard.press("Enter")  # the ratings are missing: asked once more
    expect(page.locator("#hint")).to_contain_text("Not rated: 1, 2")
    page.keyboard.press("r")
    page.keyboard.press("6")
    page.keyboard.press("3")  # on to the next by itself
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("f")
    page.keyboard.press("b")
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    page.keyboard.type("2 is ru")
    page.reload()  # what was begun is there again
    ready(page)
    page.locator("#note").press_sequentially("de")
    page.keyboard.press("Control+Enter")
    sent(site, page, "tea", 1)
    (answer,) = site.answers("tea")
    assert answer.ratings == {order[0]: 6, order[1]: 3}
    assert answer.flags == {order[0]: ("rude",)}
    assert answer.note.replace("de", "", 1).strip() in ("2 is ru", "2 is")
    assert answer.tiers == ((order[0],), (order[1],))


def test_single_keys_can_be_switched_off(site: Site, visits: Visits) -> None:
    site.rank("tea", 1, candidates=3)
    page = visits.open(site, "/rank/tea")
    ready(page)
    page.keyboard.press("?")
    page.locator("#shortcuts-on").uncheck()
    page.keyboard.press("Escape")
    for key in ("1", "c", "s", "?"):
        page.keyboard.press(key)
    expect(page.locator(".tier")).to_have_count(0)
    expect(page.locator("#help")).to_be_hidden()
    page.locator(".answer .tag").first.focus()
    page.keyboard.press("Enter")  # by Tab and Enter all of it works as well
    expect(page.locator(".tier")).to_have_count(1)


def test_what_a_model_wrote_stays_text(site: Site, visits: Visits) -> None:
    attacks = [
        "<script>window.hit = 1</script>",
        "<img src=x onerror='window.hit = 1'> and ![x](https://example.org/x.png)",
        "[a link](javascript:window.hit=1) </script><svg onload=window.hit=1>",
        "```html\n<iframe srcdoc='<script>parent.hit = 1</script>'></iframe>\n```",
    ]
    site.rank("tea", 1, texts=attacks)
    asked: list[str] = []
    page = visits.open(site, "/login", sign_in=True)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{site.url}/rank/tea")
    ready(page)
    page.keyboard.press("1")
    answers = page.locator("#answers")
    expect(answers).to_contain_text("<script>window.hit = 1</script>")
    assert answers.locator("script, img, iframe, svg, [onerror], [href^='javascript']").count() == 0
    assert page.evaluate("() => window.hit") is None
    assert all(url.startswith(site.url) for url in asked)


def test_on_a_phone_one_taps_the_numbers(site: Site, visits: Visits) -> None:
    site.rank("tea", 1, candidates=4)
    page = visits.open(site, "/rank/tea", **PHONE)
    ready(page)
    order = shown(page)
    for place in (2, 0, 3):
        page.locator(".answer .tag").nth(place).tap()
    page.locator("#tool-tie").tap()  # the chosen one with the one above
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    page.locator("#submit").tap()
    sent(site, page, "tea", 1)
    assert site.answers("tea")[0].tiers == ((order[2],), (order[0], order[3]), (order[1],))
