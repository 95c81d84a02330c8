"""Passwords: argon2id, slow on purpose, two at a time, so that a flood of tries cannot fill the memory."""

from __future__ import annotations

import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from backflip.studio.refusals import Refusal

__all__ = ["MAX_LENGTH", "MIN_LENGTH", "Passwords"]

MIN_LENGTH, MAX_LENGTH = 10, 256


class Passwords:
    """Makes and checks hashes. The hasher's defaults are RFC 9106's for little memory: 64 MiB, 3 passes."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._slots = threading.BoundedSemaphore(2)
        self._nobody = ""

    def hash(self, password: str, *, name: str = "") -> str:
        """The hash to keep; refuses a password that is too short, too long, or the name."""
        if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
            raise Refusal(f"the password has {len(password)} characters; wanted {MIN_LENGTH} to {MAX_LENGTH}")
        if name and password.casefold() == name.casefold():
            raise Refusal("the password is the name: choose another one")
        with self._slots:
            return self._hasher.hash(password)

    def is_right(self, password: str, known: str | None) -> bool:
        """Whether the password is the one of this hash. Without a hash it takes as long to say no."""
        with self._slots:
            if not self._nobody:
                self._nobody = self._hasher.hash("nobody")
            try:
                return self._hasher.verify(known or self._nobody, password[: MAX_LENGTH + 1]) and bool(known)
            except (VerifyMismatchError, InvalidHashError):
                return False
