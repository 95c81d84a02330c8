"""`backflip studio`: opens the store, says where to go, and serves until Ctrl-C."""

from __future__ import annotations

import errno
import secrets
import signal
import socket
import time
import webbrowser
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from backflip.config import require
from backflip.errors import ConfigError, FeedbackError
from backflip.feedback.store import Store
from backflip.studio.accounts.credentials import Credentials
from backflip.studio.app import create_app
from backflip.studio.settings import Settings, is_loopback
from backflip.studio.state import Studio

__all__ = ["DEFAULT_STORE", "Config", "Server", "listen", "open_store", "run"]

DEFAULT_STORE = "runs/studio/feedback.db"
_KEEP_ALIVE = 75  # seconds: longer than a labeller thinks, so that an answer finds its connection open


@dataclass(frozen=True)
class Config(Settings):
    """Starts the web site where people rank, compare and write, and watch the training.

    For you alone, on this machine, by a link; or with --accounts for a team.
    """

    store: str = DEFAULT_STORE
    """The feedback store, a path or URL. Where the default one is missing, it is made with the demo's questions."""
    new: bool = False
    """Make the store if it is missing."""
    browser: bool = False
    """Open a browser there."""
    chat_models: tuple[str, ...] = ()
    """Turns the chat on: NAME=FOLDER, one or more."""
    chat_filters: tuple[str, ...] = ("words",)
    """What the chat's texts must pass: words, words:FILE, personal, trained:FOLDER, ..; nothing is no filter."""
    chat_project: str = "chat"
    """Where the chat's votes and consented prompts go."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.store), "store", seen=self.store, wanted="a path or URL")


class Server(uvicorn.Server):
    """uvicorn's, which tells streams to end when it stops (`ending`), and for which Ctrl-C is a good end."""

    def __init__(self, app: FastAPI, host: str, port: int, ending: Callable[[], object]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                log_level="warning",
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=5,
            )
        )
        self._ending = ending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn calls it so
        """Once: ends what is under way; twice: at once."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Streams end before uvicorn begins to wait for them."""
        self._ending()
        await super().shutdown(sockets=sockets)


def run(config: Config, *, fill: Callable[[Store], None] | None = None) -> None:
    """Serves until it is stopped. `fill` puts the first questions into the default store where that is new.

    Raises:
        FeedbackError: the store is missing or cannot be opened or written, or the port is taken.
        ConfigError: it should listen wider than loopback, without accounts.
    """
    with open_store(config, fill) as store, listen(config.host, config.port) as listener, ExitStack() as stack:
        config = replace(config, port=listener.getsockname()[1])
        if not config.accounts and not config.token:
            config = replace(config, token=secrets.token_urlsafe(24))
        config = replace(config, chat=bool(config.chat_models))
        app = create_app(store, config)
        endings = [app.state.studio.stopping.set, *_chat(app, config, stack)]
        print(_welcome(config, app.state.studio), flush=True)
        if config.browser:
            webbrowser.open(_link(config))
        Server(app, config.host, config.port, lambda: [end() for end in endings]).run(sockets=[listener])
    print("the studio has stopped; all that was answered is kept")


def _chat(app: FastAPI, config: Config, stack: ExitStack) -> list[Callable[[], None]]:
    """Turns the chat on, if it is wanted: only then are its modules imported, for they need torch."""
    if not config.chat_models:
        return []
    from backflip.studio.chat.opening import open_chat

    service = open_chat(app, config.chat_models, config.chat_filters, config.chat_project, config.runs)
    stack.callback(service.close)
    return [service.end]


def open_store(config: Config, fill: Callable[[Store], None] | None = None) -> Store:
    """The store, which is made only where that was asked for."""
    file = None if "://" in config.store else Path(config.store)
    missing = file is not None and not file.exists()
    if missing and not config.new and config.store != DEFAULT_STORE:
        raise FeedbackError(f"there is no store {config.store}; add --new to make it, or give another path")
    try:
        store = Store.open(config.store)
    except OSError as error:
        raise FeedbackError(f"the store {config.store} cannot be made ({error.strerror}); give another path") from error
    try:
        # A store that cannot be written is told of now, and not by the first answer.
        Credentials(store.database, time.time).forget_old_sessions()
        if missing and not config.new and fill is not None:
            fill(store)
    except BaseException:
        store.close()
        raise
    return store


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises FeedbackError where the port is taken, ConfigError where it may not be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends at once (TCP_NODELAY) only where it sees that this is TCP; else each response waits for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)  # now, so that the link works as soon as it is printed
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise FeedbackError(
                f"port {port} of {host} is taken, perhaps by another studio; give another --port, or 0 for a free one"
            ) from error
        raise ConfigError(
            f"cannot listen on {host} port {port} ({error.strerror}); wanted an address of this machine "
            "and a port that you may use: give another --host or --port"
        ) from error
    return listener


def _link(config: Settings) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{config.port}/" + (f"?token={config.token}" if not config.accounts else "")


def _welcome(config: Config, studio: Studio) -> str:
    lines = [f"the studio is open at {_link(config)}"]
    if config.accounts and not studio.accounts.people.admins():
        word = studio.accounts.invitations.make(role="admin", inviter="", note="the first admin")
        lines.append(f"nobody can sign in yet; the first admin joins at {_link(config)}invitation/{word}")
    if not is_loopback(config.host) and not config.https:
        lines.append("passwords travel in the clear: put a proxy with https in front of it, and add --https")
    return "\n".join([*lines, "Ctrl-C ends it"])
