"""The teacher's seat, for a person: the studio's Compare page on a run's store, and what the terminal says of it."""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote

from rich.console import Console

from backflip.errors import FeedbackError
from backflip.feedback.projects import Project, Projects
from backflip.feedback.store import Store
from backflip.recipes.control_processes import Config as Training
from backflip.studio.app import create_app
from backflip.studio.command import Server, listen
from backflip.studio.settings import Settings

__all__ = ["browse", "open_seat"]

_PORT: Final = 8765  # if it is free: then a page that is open goes on when the command is started again
_TITLE: Final = {"forward": "A one-legged robot learns to hop", "backflip": "A one-legged robot learns a backflip"}
_LIKED: Final = {
    "forward": """\
* Getting **forward**, to the right, is good; on its foot it is better than in a fall.
* Staying up is better than lying down.""",
    "backflip": """\
* Turning **backwards**, head over to the left, is good: in the air most of all, less so when it rolls on the floor.
* Landing on its orange foot is better than landing on anything else.""",
}
_INSTRUCTIONS: Final = """\
You see two clips of the same robot, half a second each, three times slower than real time. **{wanted}**

{liked}

No difference? `↑`. You cannot tell? `↓`. A wrong key? `u` takes it back.

At first it only falls over: choose what is a little nearer, and do not think for long. After your first {first} \
answers it begins to learn from them, and the clips begin to change. You may want something else than this, too: be \
consistent.
"""


@contextmanager
def open_seat(training: Training, console: Console, *, goal: str, browser: bool) -> Iterator[str]:
    """The studio, in a thread, for as long as the block lasts; says where it is and gives the link."""
    training.folder.mkdir(parents=True, exist_ok=True)
    with Store.open(training.place) as store, _free_port() as listener:
        _describe(store, training, goal)
        host, port = listener.getsockname()
        token = secrets.token_urlsafe(24)
        runs = training.folder.parent
        app = create_app(store, Settings(host=host, port=port, token=token, media=training.clips, runs=runs))
        server = Server(app, host, port, app.state.studio.stopping.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        place = f"http://{host}:{port}"
        link = f"{place}/?token={token}&next={quote(f'/compare/{training.project}')}"
        console.print(_welcome(training, link, f"{place}/runs/{training.folder.name}"), highlight=False, soft_wrap=True)
        if browser:
            browse(link)
        try:
            yield link
        finally:
            server.should_exit = True
            thread.join(10)


def browse(address: str) -> None:
    """Opens a browser there, if there is one with windows: a text browser would take the terminal."""
    try:
        kind = type(webbrowser.get())
    except webbrowser.Error:
        return
    if kind is not webbrowser.GenericBrowser:
        webbrowser.open(address)


def _free_port() -> socket.socket:
    try:
        return listen("127.0.0.1", _PORT)
    except FeedbackError:
        return listen("127.0.0.1", 0)


def _describe(store: Store, training: Training, goal: str) -> None:
    """What the labeller is told, once."""
    projects, name = Projects(store), training.project
    known = projects.find(name)
    if known is None or not known.title:
        told = _INSTRUCTIONS.format(wanted=training.wanted, liked=_LIKED[goal], first=_first(training))
        projects.save(Project(name, title=_TITLE[goal], instructions=told))


def _first(training: Training) -> int:
    return min(training.asking.first, training.asking.budget)


def _welcome(training: Training, link: str, look: str) -> str:
    first, budget = _first(training), training.asking.budget
    return f"""\
you are the teacher. Open this, and choose the better of two clips with the arrow keys:
  {link}
it begins to learn after your first {first} answers, and lets you keep up from then on; it asks for {budget} in all
how it does:
  {look}
stop whenever you like: {training.patience:.0f} seconds after your last answer it goes on with what you taught it,
to the end (before answer {first} it just waits). Ctrl-C ends it; the same command goes on, with every answer kept"""
