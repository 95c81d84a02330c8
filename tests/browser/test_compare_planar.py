"""Ten pairs of a planar robot's clips, answered by keys: what the agent's process asks, and what people make of it."""

from __future__ import annotations

import statistics

import numpy as np
from browser_kit import Site, Visits

from backflip.control.clips import Filming
from backflip.control.segments import Segment
from backflip.feedback.media import Media
from backflip.records import Candidate, Prompt, Question

INK = """() => [...document.querySelectorAll('canvas.clip-picture')].map(canvas => {
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let orange = 0;
  for (let i = 0; i < pixels.length; i += 4) orange += pixels[i] > 220 && pixels[i + 1] < 170 && pixels[i + 2] < 100;
  return orange;
})"""


def clip(way: float) -> Segment:
    """Sixty steps of a Hopper that slides along, `way` metres far."""
    poses = np.zeros((61, 6))
    poses[:, 0], poses[:, 1] = np.linspace(0, way, 61), 1.25
    return Segment("Hopper-v5", np.zeros((60, 11), np.float32), np.zeros((60, 3), np.float32), poses)


def test_ten_pairs_of_planar_clips_by_keys(site: Site, visits: Visits) -> None:
    with Filming(Media(site.media)) as film:
        keys = [film(clip(0.1 * number)) for number in range(12)]
    pairs = [(keys[i], keys[i + 1]) for i in range(11)]
    wanted = Prompt.ask("Which gets further?")
    site.store.add_questions(
        [Question("clip", tuple(Candidate(media=key) for key in pair), wanted) for pair in pairs], project="control"
    )
    page = visits.open(site, "/compare/control")
    page.wait_for_function("() => performance.getEntriesByName('compare:stands').length >= 1")
    assert min(page.evaluate(INK)) > 100  # the foot is drawn, in both
    page.wait_for_function("() => performance.getEntriesByName('compare:loaded').length > 8")
    for count in range(10):
        page.wait_for_timeout(160)  # faster than that no one judges, and the page takes it for a bounce
        page.keyboard.press("ArrowLeft" if count % 2 else "ArrowRight")
        page.wait_for_function(f"() => performance.getEntriesByName('compare:stands').length >= {count + 2}")
    waits = page.evaluate("() => performance.getEntriesByName('compare:next').map(entry => entry.duration)")
    print("ms from the key to the next pair:", sorted(round(wait) for wait in waits))
    assert statistics.median(waits) < 100
    page.wait_for_function("() => !Object.keys(localStorage).some(key => key.startsWith('backflip.outbox.'))")
    answers = site.answers("control")
    assert len(answers) == 10
    assert [answer.tiers[0][0] == answer.shown[count % 2 == 0] for count, answer in enumerate(answers)] == [True] * 10
