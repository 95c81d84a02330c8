"""Our own JSON lines: every field of question, answer and labeller, or of a demonstration. Nothing is lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from backflip.config import dump, from_dict
from backflip.errors import ConfigError, DataError
from backflip.feedback.formats.files import Row
from backflip.feedback.formats.ranked import Imported, Ranked
from backflip.records import Answer, Demonstration, Question

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["dump_record", "read", "read_demonstrations", "read_record", "write", "write_demonstrations"]

T = TypeVar("T", bound="DataclassInstance")


def read(rows: Sequence[Row]) -> Imported:
    """Raises DataError at an unknown or missing field, and at an answer that does not fit its question."""
    ranked = []
    for row in rows:
        question, answer = read_record(row, "question", Question), read_record(row, "answer", Answer)
        with row.at("answer"):
            answer.check(question)
        ranked.append(Ranked(question, answer))
    return Imported(ranked, [])


def write(ranked: Iterable[Ranked]) -> Iterator[dict[str, Any]]:
    """Raises DataError at an answer that does not fit its question, or a number that JSON cannot hold."""
    for question, answer in ranked:
        answer.check(question)
        yield {"question": dump_record(question), "answer": dump_record(answer)}


def read_demonstrations(rows: Sequence[Row]) -> list[Demonstration]:
    """Raises DataError at an unknown or missing field."""
    return [read_record(row, "demonstration", Demonstration) for row in rows]


def write_demonstrations(demonstrations: Iterable[Demonstration]) -> Iterator[dict[str, Any]]:
    return ({"demonstration": dump_record(demonstration)} for demonstration in demonstrations)


def read_record(row: Row, field: str, kind: type[T]) -> T:
    """The record in `field`; raises DataError at an unknown or missing field."""
    data = row.inside(field).data
    with row.at(field):
        try:
            return from_dict(kind, data)
        except ConfigError as error:
            raise DataError(str(error).split(": change ", 1)[0]) from error  # its advice is about configurations


def dump_record(record: DataclassInstance) -> dict[str, Any]:
    """The record as JSON; raises DataError at a number that JSON cannot hold."""
    try:
        return dump(record)
    except ConfigError as error:
        raise DataError(str(error).split(": change ", 1)[0]) from error
