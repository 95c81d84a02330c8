"""A studio over the store fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from studio_kit import Site

from backflip.feedback.store import Store
from backflip.studio.accounts.entry import Accounts
from backflip.studio.accounts.passwords import Passwords
from backflip.studio.app import create_app
from backflip.studio.settings import Settings


@pytest.fixture
def make_site(store: Store, store_clock: Any, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Studios over one store, with settings as asked."""
    sites: list[Site] = []

    def make(**settings: Any) -> Site:
        chosen = {"accounts": True, "media": tmp_path / "media", "runs": tmp_path / "runs"} | settings
        app = create_app(store, Settings(**chosen), clock=store_clock)
        weak = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        app.state.studio.accounts = Accounts(store, store_clock, session_seconds=1e6, passwords=weak)
        sites.append(Site(app, store, store_clock))
        return sites[-1]

    yield make
    for site in sites:
        for client in site.clients:
            client.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()
