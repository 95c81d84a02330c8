"""What the studio signs: sessions, forms, the right to a clip, and the receipt of a lease."""

from __future__ import annotations

import base64
import hashlib
import hmac

__all__ = ["Signer"]


class Signer:
    """HMAC-SHA256 with one secret; each `purpose` has a key of its own, so that no signature serves for another."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def signature(self, purpose: str, *parts: str) -> str:
        """43 characters that only who knows the secret can make."""
        key = hmac.digest(self._secret, purpose.encode(), hashlib.sha256)
        # Each part's length goes before it, so that ("ab", "c") and ("a", "bc") differ.
        message = "".join(f"{len(part)}:{part}" for part in parts)
        digest = hmac.digest(key, message.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def is_signed(self, signature: str, purpose: str, *parts: str) -> bool:
        """Whether `signature` is of these parts, compared in constant time."""
        return hmac.compare_digest(self.signature(purpose, *parts).encode(), signature.encode())
