"""One kept-alive connection to a studio, in JSON, that tries again when the network or the server fails."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from backflip.errors import ConfigError, FeedbackError

__all__ = ["Wire"]

_AGAIN: Final = (429, 502, 503, 504)


class Wire:
    """Sends requests with a bearer token. All that the API takes may be sent twice, so all is tried again."""

    def __init__(self, url: str, token: str, *, tries: int = 6, sleep: Callable[[float], None] = time.sleep) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"the studio's address is {url!r}; wanted http://HOST:PORT or https://HOST")
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=60)
        self._place, self._tries, self._sleep = url.rstrip("/"), tries, sleep
        self._path = parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def close(self) -> None:
        """Closes the connection; it opens again when it is used."""
        self._connection.close()

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer's JSON; FeedbackError with the server's own words if it refuses, or cannot be reached."""
        text = self.text(method, path, body)
        return json.loads(text) if text else None

    def text(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> str:
        """The answer as text."""
        sent = None if body is None else json.dumps(body)
        failure = ""
        for attempt in range(self._tries):
            try:
                self._connection.request(method, self._path + path, sent, self._headers)
                response = self._connection.getresponse()
                text = response.read().decode()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                failure, wait = str(error) or type(error).__name__, 0.0
            else:
                if response.status < 400:
                    return text
                failure, wait = _said(text, response.status), float(response.headers.get("Retry-After") or 0)
                if response.status not in _AGAIN:
                    raise FeedbackError(failure)
            if attempt + 1 < self._tries:
                self._sleep(max(wait, 0.1 * 2**attempt))
        raise FeedbackError(f"the studio at {self._place} did not answer ({failure}); see that it runs, and go on then")


def _said(text: str, status: int) -> str:
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the studio answered with status {status}"
