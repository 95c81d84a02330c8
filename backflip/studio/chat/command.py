"""`backflip serve`: models behind an OpenAI-compatible API, until Ctrl-C."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from backflip.config import require
from backflip.errors import ConfigError
from backflip.lm.engine import EngineConfig
from backflip.studio.chat.limits import Limits
from backflip.studio.chat.openai_api import create_api
from backflip.studio.chat.opening import open_service
from backflip.studio.chat.service import Service
from backflip.studio.command import Server, listen
from backflip.studio.settings import is_loopback

__all__ = ["Config", "run"]


@dataclass(frozen=True)
class Config:
    """Serves models by an OpenAI-compatible API: /v1/chat/completions and /v1/models."""

    models: tuple[str, ...]
    """NAME=MODEL, or MODEL alone, a folder or a hub id, whose name is its last part. The first is the default."""
    filters: tuple[str, ...] = ("words",)
    """What the user's text and the model's must pass: words, words:FILE, personal, trained:FOLDER, ..; or nothing."""
    host: str = "127.0.0.1"
    """The address to listen on. Anything but loopback needs a key."""
    port: int = 8766
    """The port to listen on; 0 takes a free one."""
    key: str = ""
    """What clients must send as their API key; empty: none is asked for."""
    blocked: Path = Path("runs/chat/blocked.jsonl")
    """Where blocked turns are kept for review."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """How much is decoded at once."""
    limits: Limits = field(default_factory=Limits)
    """How much is taken."""
    device: str = "cpu"
    """Where the models are: cpu, or cuda."""

    def __post_init__(self) -> None:
        require(0 <= self.port <= 65535, "port", seen=self.port, wanted="0 to 65535")
        require(bool(self.models), "models", seen="nothing", wanted="NAME=FOLDER, one or more")
        if not self.key and not is_loopback(self.host):
            raise ConfigError(
                f"host is {self.host!r}, which others can reach, and there is no key; wanted --key, or a loopback "
                "address such as 127.0.0.1"
            )


def run(config: Config) -> None:
    """Serves until it is stopped; streams end before it does."""
    with ExitStack() as stack:
        listener = stack.enter_context(listen(config.host, config.port))
        service = open_service(
            config.models,
            config.filters,
            limits=config.limits,
            blocked=config.blocked,
            engine=config.engine,
            device=config.device,
        )
        stack.callback(service.close)
        host = f"[{config.host}]" if ":" in config.host else config.host
        print(_welcome(config, service, f"http://{host}:{listener.getsockname()[1]}/v1"), flush=True)
        app = create_api(service, key=config.key)
        Server(app, config.host, config.port, service.end).run(sockets=[listener])
    print("the server has stopped")


def _welcome(config: Config, service: Service, url: str) -> str:
    lines = [f"{', '.join(service.models)} at {url}"]
    if not config.filters:
        lines.append("no filter is on: what the models write is shown as it is")
    if not is_loopback(config.host):
        lines.append("the key travels in the clear: put a proxy with https in front of it")
    return "\n".join([*lines, "Ctrl-C ends it"])
