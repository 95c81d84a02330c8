"""The look of a control run in a real browser: the last episode with its strip, figures, curves; as it grows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from browser_kit import PHONE, Site, Visits, axe_faults
from playwright.sync_api import expect
from test_operator_pages import Config

from backflip.control.clips import Filming
from backflip.control.segments import Segment
from backflip.feedback.media import Media
from backflip.runs import open_run

STEPS = 60
INK = """() => {
  const strip = document.querySelector('.look-strip');
  const { data, width } = strip.getContext('2d').getImageData(0, 0, strip.width, strip.height);
  const strong = [0, 0];
  for (let i = 3; i < data.length; i += 4) if (data[i] > 200) strong[((i - 3) / 4) % width < width / 2 ? 0 : 1]++;
  return strong;
}"""


def look(site: Site, answers: int) -> dict[str, Any]:
    """As the watching process writes it."""
    poses = np.zeros((STEPS + 1, 6))
    poses[:, 0], poses[:, 1] = np.linspace(0, 0.1 * answers, STEPS + 1), 1.25
    with Filming(Media(site.media)) as film:
        clip = film(Segment("Hopper-v5", np.zeros((STEPS, 11), np.float32), np.zeros((STEPS, 3), np.float32), poses))
    flips = {"clean_flips": 2.5, "net_turns": 9.0, "airborne_turns": 6.0, "body_floor_share": 0.1}
    history = [
        {"steps": 1000 * n, "true_return": -n, "correlation": n / 10, "answers": n, "accuracy": 0.5 + n / 20}
        for n in range(1, answers + 1)
    ]
    about = {"version": 1, "time": f"2026-11-24T10:00:{answers:02}+00:00", "env": "Hopper-v5", "clip": clip}
    counts = {"waiting": 3, "budget": 8, "predicted": np.sin(np.arange(STEPS) / 5 + 0.3).tolist()}
    return {**about, **counts, **history[-1], "flips": flips, "history": history}


def test_the_last_episode_is_shown_and_followed(site: Site, visits: Visits) -> None:
    with open_run(site.runs / "hop", recipe="control_processes", config=Config(), seed=1) as run:
        (run.folder / "look.json").write_text(json.dumps(look(site, 3)))
        page = visits.open(site, "/runs/hop", reduced_motion="reduce", locale="zh-CN")
        expect(page.locator(".look-figures")).to_contain_text("3 个等待回答")
        expect(page.locator(".look-figures")).to_contain_text("65 %")
        assert page.locator(".look-curves .uplot").count() == 4
        scrubber = page.get_by_role("slider")
        scrubber.focus()
        page.keyboard.press("Home")
        page.wait_for_function(f"() => ({INK})()[0] < 200")  # nothing was shown yet: all of the strip is pale
        page.keyboard.press("End")
        page.wait_for_function(f"() => Math.min(...({INK})()) > 200")
        assert not axe_faults(page)
        (run.folder / "look.json").write_text(json.dumps(look(site, 4)))
        expect(page.locator(".look-figures")).to_contain_text("70 %")
        run.finish({})
    phone = visits.open(site, "/runs/hop", **(PHONE | {"viewport": {"width": 360, "height": 800}}))
    expect(phone.locator(".look-figures")).to_contain_text("3 waiting for an answer")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    phone.get_by_role("button", name="Pause").click()
    expect(phone.get_by_role("button", name="Play")).to_be_visible()
