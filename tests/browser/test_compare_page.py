"""Compare in a real browser: arrow keys, two clips in step, and the next pair at once."""

import json
import statistics
from io import BytesIO
from itertools import combinations
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
from browser_kit import PHONE, Site, Visits, axe_faults
from playwright.sync_api import Page, Route, expect

from backflip.records import Candidate, Question

FRAMES, RATE = 20, 20
MOMENTS = "() => [...document.querySelectorAll('.side video')].map(video => video.currentTime)"
DRAWS = """export function drawPlanar(canvas, clip, frame) {
  canvas.dataset.frame = String(frame);
  canvas.getContext("2d").fillRect(0, 0, frame + 1, 9);
}"""


def video(shade: int) -> bytes:
    """A second of a square that wanders, in H.264."""
    frames = np.full((FRAMES, 64, 64, 3), 240, np.uint8)
    for t, frame in enumerate(frames):
        frame[20:36, 2 * t : 2 * t + 16] = (shade, 80, 160)
    file = BytesIO()
    imageio.imwrite(file, frames, extension=".mp4", plugin="FFMPEG", fps=RATE, macro_block_size=2)
    return file.getvalue()


@pytest.fixture(scope="session")
def videos() -> list[bytes]:
    return [video(shade) for shade in (0, 50, 100, 150, 200, 250)]


def ask(site: Site, keys: list[str], count: int) -> None:
    pairs = list(combinations(keys, 2))[:count]
    site.store.add_questions(
        [Question("clip", tuple(Candidate(media=key) for key in pair)) for pair in pairs], project="flips"
    )


def stands(page: Page, count: int) -> None:
    """Waits until so many pairs have stood on this page."""
    page.wait_for_function(f"() => performance.getEntriesByName('compare:stands').length >= {count}")


def test_ten_pairs_by_keys_and_each_next_one_at_once(site: Site, visits: Visits, videos: list[bytes]) -> None:
    ask(site, [site.clip(content, "mp4") for content in videos], 12)
    page = visits.open(site, "/compare")
    stands(page, 1)
    # A person takes seconds for the first pair; the next ones load meanwhile.
    page.wait_for_function("() => performance.getEntriesByName('compare:loaded').length > 8")
    keys = ["Left", "Right", "Up", "Down", "Left", "Equal", "Space", "Right", "Left", "Up"]
    for count, key in enumerate(keys):
        page.wait_for_timeout(160)  # faster than that no one judges, and the page takes it for a bounce
        page.keyboard.press(key if key in ("Equal", "Space") else f"Arrow{key}")
        stands(page, count + 2)
    waits = page.evaluate("() => performance.getEntriesByName('compare:next').map(entry => entry.duration)")
    assert len(waits) == len(keys)
    print("ms from the key to the next pair:", sorted(round(wait) for wait in waits))
    assert statistics.median(waits) < 100, waits  # a busy machine may hold up one or the other
    page.wait_for_function("() => !Object.keys(localStorage).some(key => key.startsWith('backflip.outbox.'))")
    answers = site.answers("flips")
    assert len(answers) == len(keys)
    for key, answer in zip(keys, answers, strict=True):
        left, right = answer.shown
        better = {"Left": ((left,), (right,)), "Right": ((right,), (left,))}
        assert answer.tiers == better.get(key, ((left, right),) if key in ("Equal", "Up") else ())


def test_more_than_two_clips_are_ranked(site: Site, visits: Visits, videos: list[bytes]) -> None:
    keys = [site.clip(content, "mp4") for content in videos[:3]]
    site.store.add_questions([Question("clip", tuple(Candidate(media=key) for key in keys))], project="flips")
    page = visits.open(site, "/compare/flips")
    page.wait_for_url("**/rank/flips?medium=clip")
    expect(page.locator(".answer video")).to_have_count(3)
    order = page.locator(".answer").evaluate_all("cards => cards.map(card => card.dataset.id)")
    for key in "312":
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_contain_text("Nothing to do for now")
    page.wait_for_function("() => !Object.keys(localStorage).some(key => key.startsWith('backflip.outbox.'))")
    assert site.answers("flips")[0].tiers == ((order[2],), (order[0],), (order[1],))


def test_both_clips_run_by_one_clock(site: Site, visits: Visits, videos: list[bytes]) -> None:
    ask(site, [site.clip(content, "mp4") for content in videos[:2]], 1)
    page = visits.open(site, "/compare/flips")
    stands(page, 1)
    page.wait_for_function("() => document.querySelector('.side video').currentTime > 0.3")
    left, right = page.evaluate(MOMENTS)
    assert abs(left - right) < 0.1
    page.wait_for_function("() => document.querySelector('.side video').currentTime < 0.2")  # round again
    page.keyboard.press("p")
    page.wait_for_function("() => [...document.querySelectorAll('.side video')].every(video => video.paused)")
    left, right = page.evaluate(MOMENTS)
    assert abs(left - right) < 0.1


def test_undo_and_skip(site: Site, visits: Visits, videos: list[bytes]) -> None:
    ask(site, [site.clip(content, "mp4") for content in videos[:3]], 3)
    page = visits.open(site, "/compare/flips")
    stands(page, 1)
    first = page.locator("#left video").get_attribute("src")
    page.wait_for_timeout(160)
    page.keyboard.press("ArrowRight")
    stands(page, 2)
    page.keyboard.press("u")
    expect(page.locator("#left video")).to_have_attribute("src", first or "")
    page.keyboard.press("s")
    page.wait_for_function(f"() => document.querySelector('#left video')?.getAttribute('src') !== {first!r}")
    assert site.answers("flips") == []


def states(turn: float) -> bytes:
    clip = {"format": "planar", "robot": "hopper", "dt": 0.008, "fps": 25, "qpos": [[t * turn] * 6 for t in range(25)]}
    return json.dumps(clip).encode()


def test_states_are_drawn_and_their_speed_is_told(site: Site, visits: Visits) -> None:
    ask(site, [site.clip(states(turn), "json") for turn in (0.1, 0.2)], 1)
    page = visits.open(site, "/login", bypass_csp=True, reduced_motion="reduce")

    def script(route: Route) -> None:
        route.fulfill(body=DRAWS, content_type="text/javascript")

    page.route("**/planar.js", script)  # the drawing has tests of its own; here it says which frame it was asked for
    page.goto(f"{site.url}/compare/flips")
    stands(page, 1)
    page.wait_for_function("() => Number(document.querySelector('#left canvas').dataset.frame) > 5")
    left, right = page.evaluate("() => [...document.querySelectorAll('.side canvas')].map(c => c.dataset.frame)")
    assert left == right
    expect(page.locator("#speed-note")).to_have_text("1.0 s · 5 times slower than it was")
    page.keyboard.press("v")
    expect(page.locator("#speed-note")).to_have_text("2.0 s · 10 times slower than it was")
    assert axe_faults(page) == []


def test_a_clip_that_is_gone_is_said_and_skipped(site: Site, visits: Visits) -> None:
    ask(site, ["0" * 64 + ".mp4", "1" * 64 + ".mp4"], 1)
    page = visits.open(site, "/compare/flips")
    expect(page.locator("#trouble")).to_contain_text("cannot be shown")
    page.keyboard.press("ArrowLeft")  # nobody can have judged it
    page.keyboard.press("s")
    expect(page.locator("#state")).to_contain_text("Nothing to do for now")
    assert site.answers("flips") == []


def swipe(page: Page, by: float) -> None:
    box: Any = page.locator("#stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x + by, "y": y}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_on_a_phone_one_taps_or_wipes(site: Site, visits: Visits, videos: list[bytes]) -> None:
    ask(site, [site.clip(content, "mp4") for content in videos[:3]], 3)
    page = visits.open(site, "/compare/flips", **PHONE)
    stands(page, 1)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    page.wait_for_timeout(160)
    page.locator("#left").tap()
    stands(page, 2)
    page.wait_for_timeout(160)
    swipe(page, 90)
    stands(page, 3)
    page.wait_for_function("() => !Object.keys(localStorage).some(key => key.startsWith('backflip.outbox.'))")
    first, second = site.answers("flips")
    assert first.tiers[0][0] == first.shown[0]
    assert second.tiers[0][0] == second.shown[1]
