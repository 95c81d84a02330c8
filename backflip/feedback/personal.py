"""Personal data in a text: where it stands, and the text without it. Nothing is downloaded.

Numbers are believed only with their checksum or form: cards (Luhn), IBANs, identity numbers (United States, China) by
`stdnum`, telephone numbers by `phonenumbers` (Google's libphonenumber). Names and addresses are not found: that takes
a model, and people.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from backflip.errors import DependencyError

__all__ = ["KINDS", "REGIONS", "Found", "find_personal", "personal_data", "redact"]

KINDS: Final = ("email", "iban", "card", "identity", "phone")
REGIONS: Final = ("US", "GB")  # whose national telephone numbers are known; international ones always are

_EMAIL = re.compile(r"[\w.+-]+@(?:[\w-]+\.)+[^\W\d_]{2,}")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z\d]{4}){2,7}(?: ?[A-Z\d]{1,3})?\b")
_CARD = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.])")
_SSN = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")
_RESIDENT = re.compile(r"(?<!\d)\d{17}[\dXx](?!\d)")


class Found(NamedTuple):
    """Characters `start` to `end` of the text are of this kind."""

    kind: str
    start: int
    end: int


def find_personal(text: str, *, regions: Sequence[str] = REGIONS) -> list[Found]:
    """All that looks like personal data, in the order of the text; what two kinds claim goes to the first of `KINDS`.

    Raises DependencyError if the packages are not installed.
    """
    taken: list[Found] = []
    for found in _claims(text, regions):
        if all(found.end <= other.start or found.start >= other.end for other in taken):
            taken.append(found)
    return sorted(taken, key=lambda found: found.start)


def personal_data(text: str, *, regions: Sequence[str] = REGIONS) -> tuple[str, ...]:
    """Which of `KINDS` a text seems to hold. Raises DependencyError if the packages are not installed."""
    held = {found.kind for found in find_personal(text, regions=regions)}
    return tuple(kind for kind in KINDS if kind in held)


def redact(text: str, *, regions: Sequence[str] = REGIONS) -> str:
    """The text with each find replaced by its kind in brackets. Raises as `find_personal`."""
    for found in reversed(find_personal(text, regions=regions)):
        text = f"{text[: found.start]}[{found.kind}]{text[found.end :]}"
    return text


def _claims(text: str, regions: Sequence[str]) -> Iterator[Found]:
    try:
        from phonenumbers import PhoneNumberMatcher
        from stdnum import iban, luhn
        from stdnum.cn import ric
        from stdnum.us import ssn
    except ImportError as error:
        raise DependencyError(
            "finding personal data needs phonenumbers and python-stdnum: pip install 'backflip[pii]', "
            "or leave the filter off"
        ) from error
    yield from _matches("email", _EMAIL, text, lambda _: True)
    yield from _matches("iban", _IBAN, text, iban.is_valid)
    yield from _matches("identity", _RESIDENT, text, ric.is_valid)  # before cards: one in ten has a Luhn sum by chance
    yield from _matches("card", _CARD, text, lambda number: _is_card(number, luhn.is_valid))
    yield from _matches("identity", _SSN, text, ssn.is_valid)
    for region in regions:
        yield from (Found("phone", m.start, m.end) for m in PhoneNumberMatcher(text, region))


def _matches(kind: str, pattern: re.Pattern[str], text: str, valid: Callable[[str], bool]) -> Iterator[Found]:
    return (Found(kind, m.start(), m.end()) for m in pattern.finditer(text) if valid(m.group()))


def _is_card(number: str, luhn: Callable[[str], bool]) -> bool:
    digits = re.sub(r"\D", "", number)
    return len(set(digits)) > 1 and luhn(digits)
