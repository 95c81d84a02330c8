"""`backflip studio`: opens the store, says where to go, and serves until Ctrl-C."""

from __future__ import annotations

import secrets
import webbrowser
from dataclasses import dataclass, field, replace

import uvicorn

from backflip.feedback.store import Store
from backflip.studio.app import create_app
from backflip.studio.settings import Settings

__all__ = ["Config", "run"]


@dataclass(frozen=True)
class Config:
    """Starts the studio: rank, compare, write, and watch the training, in a browser."""

    store: str = "feedback.db"
    """The feedback store, a path or URL."""
    settings: Settings = field(default_factory=Settings)
    """Where it listens and who may come in."""
    browser: bool = False
    """Open a browser there."""


def run(config: Config) -> None:
    """Serves until it is stopped."""
    settings = config.settings
    if not settings.accounts and not settings.token:
        settings = replace(settings, token=secrets.token_urlsafe(24))
    link = f"http://{settings.host}:{settings.port}/" + (f"?token={settings.token}" if settings.token else "")
    with Store.open(config.store) as store:
        print(f"the studio is at {link}")
        if config.browser:
            webbrowser.open(link)
        uvicorn.run(create_app(store, settings), host=settings.host, port=settings.port, log_level="warning")
