"""What the site answers with when it does not do what was asked, each with its HTTP status."""

from __future__ import annotations

from collections.abc import Mapping

from backflip.errors import BackflipError

__all__ = ["Conflict", "NotAllowed", "NotFound", "NotSignedIn", "Refusal", "TooLarge", "TooMany"]


class Refusal(BackflipError):
    """A request that is refused; the message goes to who asked."""

    status = 400

    @property
    def headers(self) -> Mapping[str, str]:
        return {}


class NotSignedIn(Refusal):
    """Nobody is signed in, or the session is over."""

    status = 401

    def __init__(self) -> None:
        super().__init__("you are not signed in, or your session is over: sign in again")


class NotAllowed(Refusal):
    """The user is known and may not do this."""

    status = 403


class NotFound(Refusal):
    """There is no such thing, or not for this user: the two look alike."""

    status = 404


class Conflict(Refusal):
    """It was done already, or something else was done meanwhile."""

    status = 409


class TooLarge(Refusal):
    """The request brings more than the studio takes."""

    status = 413


class TooMany(Refusal):
    """Too many tries; `seconds` is how long to wait."""

    status = 429

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(max(1, round(self.seconds)))}
