"""What a labeller's browser keeps: without a network, through a reload, in several tabs, signed out, refused."""

from functools import partial

from browser_kit import Site, Visits
from playwright.sync_api import Page, Response, Route, expect

EMPTY = "() => !Object.keys(localStorage).some(key => key.startsWith('backflip.outbox.'))"


def answer(page: Page) -> str:
    """Ranks the question on the page; returns it by its first candidate's id."""
    page.locator(".answer").first.wait_for()
    shown = page.locator(".answer").first.get_attribute("data-id") or ""
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.wait_for_function(f"() => document.querySelector('.answer')?.dataset.id !== {shown!r}")
    return shown


def shown(page: Page) -> str:
    page.locator(".answer").first.wait_for()
    return page.locator(".answer").first.get_attribute("data-id") or ""


def test_the_network_goes_and_comes_back(site: Site, visits: Visits) -> None:
    site.rank("tea", 8, candidates=2)
    page = visits.open(site, "/rank/tea")
    answer(page)
    page.wait_for_function(EMPTY)
    page.context.set_offline(True)
    answer(page)
    answer(page)
    expect(page.locator("#waiting")).to_have_text("2 answers wait for the network")
    assert len(site.answers("tea")) == 1
    page.keyboard.press("u")  # what was not sent is undone here
    expect(page.locator("#waiting")).to_have_text("1 answer waits for the network")
    answer(page)
    page.context.set_offline(False)
    page.wait_for_function(EMPTY)
    expect(page.locator("#waiting")).to_be_hidden()
    answers = site.answers("tea")
    assert len(answers) == 3
    assert len({given.question for given in answers}) == 3


def test_a_closed_page_loses_nothing(site: Site, visits: Visits) -> None:
    site.rank("tea", 6, candidates=2)
    page = visits.open(site, "/rank/tea")
    shown(page)
    page.context.set_offline(True)
    answer(page)
    page.close()
    context = visits.contexts[-1]
    context.set_offline(False)
    again = visits.tab(context, site, "/rank/tea")
    again.wait_for_function(EMPTY)
    assert len(site.answers("tea")) == 1


def test_a_lost_response_does_not_make_two_answers(site: Site, visits: Visits) -> None:
    site.rank("tea", 3, candidates=2)
    page = visits.open(site, "/rank/tea")
    lost: list[str] = []

    def lose(route: Route) -> None:
        if lost:
            return route.continue_()
        route.fetch()  # it arrives, and the answer to it does not
        lost.append(route.request.url)
        return route.abort()

    page.route("**/answers", lose)
    answer(page)
    page.wait_for_function(EMPTY)
    assert lost
    assert len(site.answers("tea")) == 1


def test_a_reload_shows_the_same_question(site: Site, visits: Visits) -> None:
    site.rank("tea", 9, candidates=3)
    page = visits.open(site, "/rank/tea")
    first = shown(page)
    page.keyboard.press("2")
    page.reload()
    assert shown(page) == first
    expect(page.locator(".tier")).to_have_count(1)  # and what was ranked of it


def _note_key(keys: list[str], response: Response) -> None:
    if response.url.endswith("/answers"):
        keys.append(response.request.post_data_json["key"])


def test_two_tabs_share_the_work_and_send_once(site: Site, visits: Visits) -> None:
    site.rank("tea", 12, candidates=2)
    one = visits.open(site, "/rank/tea")
    shown(one)
    two = visits.tab(one.context, site, "/rank/tea")
    assert shown(two) != shown(one)
    sent: dict[str, list[str]] = {"one": [], "two": []}  # the keys of what each tab got through
    for name, page in (("one", one), ("two", two)):
        page.on("response", partial(_note_key, sent[name]))
    one.context.set_offline(True)
    seen = {answer(one), answer(two), answer(one), answer(two)}
    assert len(seen) == 4
    one.context.set_offline(False)
    for page in (one, two):
        page.wait_for_function(EMPTY)
    assert len(site.answers("tea")) == 4
    assert len(sent["one"] + sent["two"]) == 4
    assert not set(sent["one"]) & set(sent["two"])  # neither tab sent what the other did


def test_signed_out_and_in_again(site: Site, visits: Visits) -> None:
    site.rank("tea", 4, candidates=2)
    page = visits.open(site, "/rank/tea")
    shown(page)
    cookies = page.context.cookies()
    page.context.clear_cookies()
    answer(page)
    expect(page.locator("#waiting")).to_contain_text("1 answer waits for you to sign in")
    assert site.answers("tea") == []
    page.context.add_cookies(cookies)  # type: ignore[arg-type]
    page.evaluate("() => dispatchEvent(new Event('focus'))")
    page.wait_for_function(EMPTY)
    assert len(site.answers("tea")) == 1


def test_signed_in_anew_in_another_tab(site: Site, visits: Visits) -> None:
    site.rank("tea", 4, candidates=2)
    page = visits.open(site, "/rank/tea")
    shown(page)
    page.context.clear_cookies()
    page.context.request.get(site.way_in)  # another session: the page's token is of the old one
    answer(page)
    page.wait_for_function(EMPTY)
    assert len(site.answers("tea")) == 1


def test_what_the_server_refuses_is_kept_and_shown(site: Site, visits: Visits) -> None:
    site.rank("tea", 4, candidates=2)
    page = visits.open(site, "/rank/tea")
    shown(page)
    refuse = {"error": {"message": "this project is gone"}}
    page.route("**/answers", lambda route: route.fulfill(status=404, json=refuse))
    answer(page)
    expect(page.locator("#waiting")).to_have_text("1 answer was not taken")
    page.unroute("**/answers")
    page.reload()
    page.locator("#waiting button").click()
    expect(page.locator("#refused")).to_contain_text("this project is gone")
    page.get_by_role("button", name="Send again").click()
    page.wait_for_function(EMPTY)
    expect(page.locator("#waiting")).to_be_hidden()
    assert len(site.answers("tea")) == 1


def test_a_paused_project_says_so_and_takes_late_answers(site: Site, visits: Visits) -> None:
    site.rank("tea", 1, candidates=2)
    page = visits.open(site, "/rank/tea")
    shown(page)
    site.project("tea", state="paused")
    with page.expect_response(lambda response: "answer" in response.url and response.request.method == "POST"):
        answer(page)
    expect(page.locator("#state")).to_contain_text("This project is paused")
    assert len(site.answers("tea")) == 1
