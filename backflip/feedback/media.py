"""Clips and other media that questions show: files in one folder, each named by the sha256 of its content.

A key is `SHA256.json` (states, drawn in the browser), `SHA256.mp4` or `SHA256.webm`. A file appears whole or not at
all, the same content is kept once, and a key never changes what it means: it may be cached for ever. A question names
its media by key alone, so the store and this folder travel together.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from backflip.errors import DataError, FeedbackError, OutOfSpace

__all__ = ["MEDIA_TYPES", "Media", "content_key", "is_key", "media_beside", "media_type"]

MEDIA_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {"json": "application/json", "mp4": "video/mp4", "webm": "video/webm"}
)
_KEY: Final = re.compile(rf"[0-9a-f]{{64}}\.(?:{'|'.join(MEDIA_TYPES)})", re.ASCII)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the user's quota, the limit on one file


def is_key(text: str) -> bool:
    """Whether `text` has the form of a key: no path, no other file, ever has."""
    return _KEY.fullmatch(text) is not None


def content_key(content: bytes, kind: str) -> str:
    """The key of some content; DataError unless `kind` is one of `MEDIA_TYPES`."""
    if kind not in MEDIA_TYPES:
        raise DataError(f"media kind is {kind!r}; wanted one of {', '.join(MEDIA_TYPES)}")
    return f"{hashlib.sha256(content).hexdigest()}.{kind}"


def media_type(key: str) -> str:
    """The type to serve a key's file with ("video/mp4")."""
    return MEDIA_TYPES[_checked(key).rpartition(".")[2]]


def media_beside(store: str | Path) -> Path:
    """The media folder of a SQLite store: `runs/feedback.db` has `runs/feedback.media`.

    Raises FeedbackError for another database, which lies in no folder.
    """
    text = str(store).removeprefix("sqlite:///")
    if "://" in text:
        raise FeedbackError("a PostgreSQL store lies in no folder, so its media have no place beside it: name a folder")
    return Path(text).with_suffix(".media")


class Media:
    """One folder of media. Safe for threads and for many processes at once."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def put(self, content: bytes, kind: str) -> str:
        """Keeps some content and returns its key; what is there already is not written again.

        Raises OutOfSpace when the disk is full: nothing of it was left.
        """
        key = content_key(content, kind)
        path = self._place(key)
        if not path.exists():
            self._write(path, content)
        return key

    def put_json(self, value: Any) -> str:
        """`put` of a JSON value; equal values have one key. ValueError at a NaN, which JSON has not."""
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return self.put(text.encode(), "json")

    def path(self, key: str) -> Path:
        """The file of a key, to be served; DataError unless `key` is one, FeedbackError if there is no such file."""
        path = self._place(key)
        if not path.is_file():
            raise FeedbackError(
                f"media {key[:12]} is not in {self.folder}; give the media folder that belongs to this store"
            )
        return path

    def read(self, key: str) -> bytes:
        """The content of a key; DataError if the file no longer holds what its name says."""
        content = self.path(key).read_bytes()
        if not key.startswith(hashlib.sha256(content).hexdigest()):
            raise DataError(f"{self.path(key)} is damaged; restore it from a copy, or delete it and ask again")
        return content

    def read_json(self, key: str) -> Any:
        """The JSON value of a key."""
        return json.loads(self.read(key))

    def __contains__(self, key: str) -> bool:
        return is_key(key) and self._place(key).is_file()

    def keys(self) -> Iterator[str]:
        """All keys, in no order."""
        if self.folder.is_dir():
            yield from (path.name for path in self.folder.iterdir() if is_key(path.name))

    def drop(self, key: str) -> None:
        """Deletes a file that no question names (an old clip of a look); that it is gone already is fine."""
        self._place(key).unlink(missing_ok=True)

    def _place(self, key: str) -> Path:
        return self.folder / _checked(key)

    def _write(self, path: Path, content: bytes) -> None:
        partial = path.with_name(f".{uuid.uuid4().hex}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise OutOfSpace(
                f"cannot write {path}: {os.strerror(error.errno)}; nothing half-written was left there: free some "
                "space (or choose another folder) and start the same command again"
            ) from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def _checked(key: str) -> str:
    if not is_key(key):
        raise DataError(f"media key is {key[:80]!r}; wanted 64 hex digits and .{', .'.join(MEDIA_TYPES)}")
    return key
