"""Reading rows of JSON with their place in the file, and writing them whole or not at all."""

from __future__ import annotations

import errno
import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from backflip.errors import DataError, OutOfSpace

__all__ = ["Row", "read_rows", "write_rows"]

_GZIP_MAGIC = b"\x1f\x8b"
_NAMES = {str: "a string", int: "a whole number", list: "a list", dict: "an object", bool: "true or false"}


class _LocatedError(DataError):
    """A DataError whose message has its place already."""


@dataclass(frozen=True)
class Row:
    """One JSON object of a file. `path` is the dotted way to it when it is nested in its line."""

    file: str
    line: int
    data: Mapping[str, Any]
    path: str = ""

    @property
    def place(self) -> str:
        return f"{self.file} line {self.line}"

    def error(self, field: str, message: str) -> DataError:
        """A DataError that reads "data.jsonl line 17, field 'chosen': ..."."""
        return _LocatedError(f"{self.place}, field {self.path + field!r}: {message}")

    @contextmanager
    def at(self, field: str = "") -> Iterator[None]:
        """Gives every DataError raised inside the place of this row (and field)."""
        try:
            yield
        except _LocatedError:
            raise
        except DataError as error:
            raise (self.error(field, str(error)) if field else _LocatedError(f"{self.place}: {error}")) from error

    def text(self, field: str) -> str:
        return cast("str", self._get(field, str))

    def whole(self, field: str) -> int:
        return cast("int", self._get(field, int))

    def items(self, field: str) -> list[Any]:
        return cast("list[Any]", self._get(field, list))

    def optional_text(self, field: str) -> str | None:
        return None if self.data.get(field) is None else self.text(field)

    def inside(self, field: str) -> Row:
        """The object in `field`, as a row of its own."""
        return self.nested(field, self._get(field, dict))

    def nested(self, field: str, value: object) -> Row:
        """`value` (the object found at `field`) as a row of its own; raises DataError if it is none."""
        if not isinstance(value, dict):
            raise self.error(field, f"{_shown(value)}; wanted an object")
        return Row(self.file, self.line, value, f"{self.path}{field}.")

    def _get(self, field: str, kind: type) -> object:
        if field not in self.data:
            raise self.error(field, f"is missing; this row has {', '.join(sorted(self.data)) or 'no field'}")
        value = self.data[field]
        if type(value) is not kind:  # not isinstance: true is no whole number
            raise self.error(field, f"{_shown(value)}; wanted {_NAMES[kind]}")
        return value


def read_rows(path: Path) -> list[Row]:
    """All rows of a file of JSON lines, or of one JSON array (then `line` counts its rows), gzipped or not.

    Raises DataError if the file is missing, empty, cut short, not UTF-8 or not JSON objects.
    """
    text = _decode(path.name, _bytes(path))
    if not text.strip():
        raise DataError(f"{path.name} is empty; wanted one JSON object a line: check that the export finished")
    if text.lstrip().startswith("["):
        values = list(enumerate(_parse(path.name, 1, text), 1))
    else:
        # Not splitlines: U+2028 and its like may stand inside a JSON string.
        lines = enumerate(text.split("\n"), 1)
        values = [(number, _parse(path.name, number, line)) for number, line in lines if line.strip()]
    return [_row(path.name, number, value) for number, value in values]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], *, array: bool = False) -> int:
    """Writes JSON lines (or one array), gzipped if the name ends in .gz; returns how many rows.

    The file appears whole under its name or not at all. Raises DataError if there is no row or one that JSON or
    UTF-8 cannot hold, OutOfSpace if the disk is full.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        count = _write_all(partial, rows, array=array, packed=path.suffix == ".gz")
        if not count:
            raise DataError(f"nothing to write to {path.name}: no row was left; check the selection that was exported")
        partial.replace(path)
        return count
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace(f"the disk is full while writing {path}; free some space and export again") from error
        raise DataError(f"cannot write {path}: {error.strerror}; check that its folder exists") from error
    finally:
        partial.unlink(missing_ok=True)


def _shown(value: object) -> str:
    """The value's type and start: long enough to find it, too short to spill a text into a log."""
    text = json.dumps(value)
    return f"is {text if len(text) <= 24 else text[:24] + '...'}"


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(_GZIP_MAGIC) else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path.name} is damaged gzip ({error}); it was cut short: fetch or export it again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the path") from error


def _decode(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name} line {line} is not UTF-8 ({error.reason}); convert the file to UTF-8") from error


def _parse(name: str, line: int, text: str) -> Any:
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():  # an escape may make half of a surrogate pair, which no file and no hash can hold
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except json.JSONDecodeError as error:
        line += error.lineno - 1
        raise DataError(f"{name} line {line} is not JSON ({error.msg} at column {error.colno}); mend it") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} line {line} is not JSON that can be held ({error}); mend the line") from error


def _row(name: str, line: int, value: object) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{name} line {line} {_shown(value)}; wanted a JSON object")
    return Row(name, line, value)


def _write_all(path: Path, rows: Iterable[Mapping[str, Any]], *, array: bool, packed: bool) -> int:
    with path.open("wb") as file:
        if packed:
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as zipped:  # equal rows, equal bytes
                count = _write_to(cast("IO[bytes]", zipped), rows, array=array)
        else:
            count = _write_to(file, rows, array=array)
        file.flush()
        os.fsync(file.fileno())
    return count


def _write_to(file: IO[bytes], rows: Iterable[Mapping[str, Any]], *, array: bool) -> int:
    count = 0
    for count, row in enumerate(rows, 1):
        try:
            line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
        except ValueError as error:
            raise DataError(f"row {count} cannot be written ({error}); mend the record") from error
        file.write((b"[" if count == 1 else b",\n") + line if array else line + b"\n")
    if array and count:
        file.write(b"]\n")
    return count
