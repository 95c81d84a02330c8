"""A studio of its own for each browser test, so that none waits for another's questions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_kit import PATIENCE, Site, Visits, serve
from playwright.sync_api import Browser, expect


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A studio for one person, who comes in by the link."""
    with serve(tmp_path / "studio") as site:
        yield site


@pytest.fixture
def visits(chromium: Browser) -> Iterator[Visits]:
    """Opens pages; the test fails if a script or the Content-Security-Policy complained in any of them."""
    expect.set_options(timeout=PATIENCE)
    visits = Visits(chromium)
    yield visits
    visits.close()
    assert not visits.faults
