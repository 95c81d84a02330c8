"""One Chromium for all browser tests; a studio of its own for each, so that none waits for another's questions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_kit import CHROMIUM, FLAGS, PATIENCE, Site, Visits, serve
from playwright.sync_api import Browser, expect, sync_playwright


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"{CHROMIUM} is not here; apt-get install chromium")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A studio for one person, who comes in by the link."""
    with serve(tmp_path / "studio") as site:
        yield site


@pytest.fixture
def visits(chromium: Browser) -> Iterator[Visits]:
    """Opens pages; the test fails if a script or the Content-Security-Policy complained in any of them."""
    visits = Visits(chromium)
    yield visits
    visits.close()
    assert not visits.faults
