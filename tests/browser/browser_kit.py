"""A running studio and people with browsers in front of it, for tests: real uvicorn, real Chromium, a store on disk."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize

from backflip.feedback.projects import Project, Projects
from backflip.feedback.store import Store
from backflip.records import Answer, Candidate, Prompt, Question
from backflip.studio.app import create_app
from backflip.studio.settings import Settings

PHONE: Final[dict[str, Any]] = {
    "viewport": ViewportSize(width=390, height=844),
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}
PATIENCE: Final = 30_000  # ms that anything may take on a busy machine; nothing waits for longer than it must
AXE: Final = Path(__file__).parent / "axe" / "axe.min.js"
_AT_REST: Final = """() => Promise.all(
    document.getAnimations()
        .filter(moving => moving.effect.getComputedTiming().iterations !== Infinity)
        .map(moving => moving.finished.catch(() => null))
).then(() => null)"""
TOKEN: Final = "a-token-for-tests"


@dataclass
class Site:
    """A studio that listens; `store` is a second handle on its database."""

    url: str
    store: Store
    media: Path
    runs: Path
    app: FastAPI

    @property
    def way_in(self) -> str:
        return f"{self.url}/?token={TOKEN}"

    def project(self, name: str, **settings: Any) -> None:
        Projects(self.store).save(Project(name, **settings))

    def rank(self, name: str, count: int, *, candidates: int = 5, texts: Sequence[str] = ()) -> list[Question]:
        """Adds text questions."""
        questions = [
            Question(
                "text",
                tuple(Candidate(text=t) for t in texts or [f"{name} {i}: answer {k}" for k in range(candidates)]),
                Prompt.ask(f"Which is best, {i}?"),
            )
            for i in range(count)
        ]
        self.store.add_questions(questions, project=name)
        return questions

    def clip(self, content: bytes, kind: str) -> str:
        """Keeps a clip and returns its key."""
        key = f"{hashlib.sha256(content).hexdigest()}.{kind}"
        path = self.media / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return key

    def answers(self, name: str) -> list[Answer]:
        return [numbered.answer for numbered in self.store.answers(project=name)]


@contextmanager
def serve(folder: Path, **settings: Any) -> Iterator[Site]:
    """A studio on a free port, in a thread of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path, media, runs = folder / "feedback.db", folder / "media", folder / "runs"
    for place in (media, runs):
        place.mkdir(exist_ok=True)
    with Store.open(path) as own, Store.open(path) as store:
        chosen = {"token": TOKEN, "secret": "s" * 40, "media": media, "runs": runs} | settings
        app = create_app(own, Settings(**chosen))
        config = uvicorn.Config(app, port=0, log_level="error", ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            thread.join(0.01)
            assert thread.is_alive(), "the server did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Site(f"http://127.0.0.1:{port}", store, media, runs, app)
        app.state.studio.stopping.set()
        server.should_exit = True
        thread.join(10)


@dataclass
class Visits:
    """Opens pages, each in a browser profile of its own, and remembers what went wrong in any of them."""

    browser: Browser
    contexts: list[BrowserContext] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def open(self, site: Site, path: str = "/", *, sign_in: bool = True, **options: Any) -> Page:
        """A page of a new profile; signed in by the link unless told otherwise."""
        chosen: dict[str, Any] = {"viewport": ViewportSize(width=1280, height=800), "locale": "en-GB"} | options
        context = self.browser.new_context(**chosen)
        context.set_default_timeout(PATIENCE)
        self.contexts.append(context)
        if sign_in:
            context.request.get(site.way_in)
        return self.tab(context, site, path)

    def tab(self, context: BrowserContext, site: Site, path: str) -> Page:
        """Another tab of a profile."""
        page = context.new_page()
        page.on("pageerror", lambda error: self.faults.append(f"{page.url}: {error}"))
        page.on("console", lambda message: self._heard(page, message.type, message.text))
        page.goto(site.url + path)
        return page

    def close(self) -> None:
        for context in self.contexts:
            with suppress(Exception):
                context.close()

    def _heard(self, page: Page, kind: str, text: str) -> None:
        # A failed request is the test's own doing (no network, a refusal); anything else is a fault of the page.
        if kind == "error" and "Failed to load resource" not in text:
            self.faults.append(f"{page.url}: {text}")


def axe_faults(page: Page) -> list[str]:
    """What axe-core holds to be serious or critical on the page as it stands now."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    page.evaluate(_AT_REST)  # a colour on its way to another has a contrast of its own
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{fault['id']}: {node['target']} {node['failureSummary']}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
