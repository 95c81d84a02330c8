"""What one running studio holds, and how a request finds it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment
from starlette.requests import HTTPConnection

from backflip.feedback.media import media_beside
from backflip.feedback.projects import Projects
from backflip.feedback.store import Store
from backflip.feedback.writings import Writings
from backflip.studio.accounts.entry import Accounts
from backflip.studio.settings import Settings
from backflip.studio.signing import Signer
from backflip.studio.tally import Tally

__all__ = ["HERE", "Studio", "studio_of"]

HERE = Path(__file__).parent


@dataclass
class Studio:
    """One application: its store, its settings, its people, its keys. Nothing of it is global."""

    store: Store
    settings: Settings
    signer: Signer
    accounts: Accounts
    projects: Projects
    writings: Writings
    tally: Tally
    environments: dict[str, Environment] = field(default_factory=dict)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server begins to stop: whoever streams ends the stream."""

    @property
    def media(self) -> Path:
        """The folder of clips."""
        if self.settings.media is not None:
            return self.settings.media
        place = self.store.database.place
        return media_beside(place) if place.startswith("sqlite") else Path("media")


def studio_of(request: HTTPConnection) -> Studio:
    """The studio that serves this request."""
    studio: Studio = request.app.state.studio
    return studio
