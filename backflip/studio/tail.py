"""The end of a growing file of lines: what came since a mark, and whether the file was replaced meanwhile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["Mark", "Tail", "lines_after"]

_MOST = 1 << 20  # bytes a look: a reader that is far behind catches up in several


class Mark(NamedTuple):
    """How far a file was read: of the file of this number (a file that was replaced has another), so many bytes."""

    file: int = 0
    bytes: int = 0

    def __str__(self) -> str:
        return f"{self.file}-{self.bytes}"

    @classmethod
    def parse(cls, text: str) -> Mark:
        """The inverse of `str`; what is malformed is the beginning."""
        file, _, count = text.partition("-")
        return cls(int(file), int(count)) if file.isdecimal() and count.isdecimal() else cls()


class Tail(NamedTuple):
    """The whole lines after a mark. `anew`: the file is another one, and these are its first lines."""

    lines: list[str]
    mark: Mark
    anew: bool
    more: bool


def lines_after(path: Path, mark: Mark) -> Tail:
    """The lines that were added after `mark`; a last line that is still being written waits for the next look."""
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            anew = bool(mark.bytes) and (about.st_ino != mark.file or about.st_size < mark.bytes)
            start = 0 if anew or about.st_ino != mark.file else mark.bytes
            file.seek(start)
            found = file.read(_MOST)
    except OSError:
        return Tail([], Mark(), bool(mark.bytes), more=False)
    end = found.rfind(b"\n") + 1
    lines = found[:end].decode(errors="replace").split("\n")[:-1]
    return Tail(lines, Mark(about.st_ino, start + end), anew, more=start + end < about.st_size and end > 0)
