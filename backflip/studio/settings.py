"""What one studio is told when it starts: where it listens, who may come in, how much it takes."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from backflip.config import require
from backflip.errors import ConfigError

__all__ = ["Settings", "is_loopback"]

_MIB = 1024 * 1024


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Settings:
    """The settings of one running studio."""

    host: str = "127.0.0.1"
    """The address to listen on. Anything but loopback needs accounts."""
    port: int = 8765
    """The port to listen on; 0 takes a free one."""
    accounts: bool = False
    """Team mode: everybody signs in with a password. Without it, one person comes in by a token link."""
    token: str = ""
    """The token of the link, where there are no accounts; the command makes one."""
    secret: str = ""
    """What cookies are signed with; empty: the store keeps one, so that sessions outlive the server."""
    media: Path | None = None
    """The folder of clips; none: beside the store's file, where control training puts them, or media/ with a server."""
    runs: Path = Path("runs")
    """The folder of runs."""
    https: bool = False
    """The site is reached by https (a proxy in front of it): cookies are sent by https alone."""
    body_limit: int = 1 * _MIB
    """Bytes that a request may bring."""
    upload_limit: int = 64 * _MIB
    """Bytes that an imported file may have."""
    session_hours: float = 24 * 14
    """How long a person stays signed in."""
    lease_seconds: float = 600
    """How long a question waits for the labeller who has it."""
    chat: bool = False
    """Whether the navigation shows the chat."""

    def __post_init__(self) -> None:
        require(0 <= self.port <= 65535, "port", seen=self.port, wanted="0 to 65535")
        require(self.body_limit > 0, "body_limit", seen=self.body_limit, wanted="at least 1 byte")
        require(self.upload_limit > 0, "upload_limit", seen=self.upload_limit, wanted="at least 1 byte")
        require(self.session_hours > 0, "session_hours", seen=self.session_hours, wanted="more than 0 hours")
        require(self.lease_seconds > 0, "lease_seconds", seen=self.lease_seconds, wanted="more than 0 s")
        if not self.accounts and not is_loopback(self.host):
            raise ConfigError(
                f"host is {self.host!r}, which others can reach, and there are no accounts; wanted a loopback address "
                "such as 127.0.0.1: add --accounts, so that everybody signs in, or leave the host out"
            )

    @property
    def cookie(self) -> str:
        """The session cookie's name: browsers share cookies between ports, so the port is in it."""
        return f"backflip_{self.port}"
