"""How long a person waits for the next pair of clips: a studio that runs, and Chromium, which answers by keys."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import uvicorn
from playwright.sync_api import sync_playwright

from backflip.control.clips import Filming
from backflip.feedback.media import Media, media_beside
from backflip.feedback.store import Store
from backflip.records import Candidate, Question
from backflip.studio.app import create_app
from backflip.studio.settings import Settings

__all__ = ["waits"]

_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync", "--disable-background-networking"]
_STANDS = "least => performance.getEntriesByName('compare:stands').length >= least"


def waits(clips: list[Any], think: float) -> list[float]:
    """Seconds from each key to the next pair, of clips taken two by two."""
    with tempfile.TemporaryDirectory() as folder, Store.open(f"{folder}/feedback.db") as store:
        with Filming(Media(media_beside(f"{folder}/feedback.db"))) as film:
            keys = [film(clip) for clip in clips]
        pairs = zip(keys[::2], keys[1::2], strict=True)
        store.add_questions(
            [Question("clip", tuple(Candidate(media=key) for key in pair)) for pair in pairs], project="control"
        )
        app = create_app(store, Settings(token="benchmark", runs=Path(folder)))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            thread.join(0.01)
        place = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        found = _answered(f"{place}/?token=benchmark&next=/compare/control", len(clips) // 2, think)
        app.state.studio.stopping.set()
        server.should_exit = True
        thread.join(10)
        return found


def _answered(link: str, pairs: int, think: float) -> list[float]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=_FLAGS)
        page = browser.new_page()
        page.goto(link)
        for count in range(1, pairs):
            page.wait_for_function(_STANDS, arg=count)
            page.wait_for_timeout(think * 1000)
            page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(think * 1000)
        durations: list[float] = page.evaluate(
            "() => performance.getEntriesByName('compare:next').map(entry => entry.duration / 1000)"
        )
        browser.close()
        return durations
