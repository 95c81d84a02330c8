"""A text as a reader sees it, however it was spelled: look-alike letters, invisible signs, digits for letters, spaces.

`views` gives the few readings on which word lists are matched. None of them is shown to anybody.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache, partial
from typing import Final

from confusable_homoglyphs import confusables

__all__ = ["fold", "views"]

# What digits and signs stand for inside a word; 1 and ! are read both ways.
_LEET: Final = str.maketrans("0345789@$€+", "oeastbgaset")
_STROKE = re.compile(r"1|[!|](?=\w)")
_SPACED = re.compile(r"(?<![^\W_])[^\W_](?:[\s.*_,~'\"-][^\W_]){2,}(?![^\W_])")  # f r e e, f.r.e.e
_INSIDE = re.compile(r"(?<=[^\W\d_])[.*_~'-](?=[^\W\d_])")  # fr.ee
_LONG = re.compile(r"(.)\1{2,}")  # freeee
_WORDLIKE = re.compile(r"[a-z]|[@$]{2}")


def fold(text: str) -> str:
    """One form for each character: compatibility forms, marks, invisible signs and look-alikes of Latin letters gone.

    Letters of other scripts stay unless they stand in a word with Latin ones, where they are there to deceive.
    """
    plain = "".join(_bare(c) for c in unicodedata.normalize("NFKC", text))
    return re.sub(r"\S+", lambda word: _latin(word.group()), plain).casefold()


def views(text: str) -> tuple[str, ...]:
    """Readings of a text, folded: as it stands; spaced letters joined; digits read as letters; without runs."""
    plain = fold(text)
    joined = _INSIDE.sub("", _SPACED.sub(lambda m: re.sub(r"[^\w]|_", "", m.group()), plain))
    read = [re.sub(r"\S+", partial(_unleet, stroke=stroke), joined) for stroke in "il"]
    readings = [plain, joined, *read]
    readings += [_LONG.sub(form, reading) for reading in (joined, *read) for form in (r"\1", r"\1\1")]
    return tuple(dict.fromkeys(readings))


def _bare(character: str) -> str:
    """Without the marks of a Latin letter (other scripts write vowels so), and nothing for what is not seen."""
    if character.isascii():
        return character if character.isprintable() or character in "\n\t\r" else ""
    if unicodedata.category(character) in ("Cf", "Me", "Cc") or "\u0300" <= character <= "\u036f":
        return ""
    base = unicodedata.normalize("NFD", character)[0]
    return base if base.isascii() else character


def _latin(word: str) -> str:
    if word.isascii():
        return word
    looks = "".join(_look(c) for c in word)
    mixed = re.search("[a-z]", word.casefold()) is not None or looks.isascii()
    return looks if mixed else word


@lru_cache(maxsize=4096)
def _look(character: str) -> str:
    """The Latin letter that a character looks like; itself if there is none."""
    if character.isascii():
        return character
    found = confusables.is_confusable(character, greedy=True, preferred_aliases=[])
    shapes = [shape["c"] for entry in found or () for shape in entry["homoglyphs"]]
    return next((shape for shape in shapes if shape.isascii() and shape.isalnum()), character)


def _unleet(match: re.Match[str], stroke: str) -> str:
    """Digits and signs as letters, in words that have a letter; numbers and prices stay."""
    word = match.group()
    return _STROKE.sub(stroke, word.translate(_LEET)) if _WORDLIKE.search(word) else word
