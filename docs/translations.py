"""The site's words: found in Python, templates and scripts, and kept with their translations in gettext catalogues.

    python docs/translations.py            brings the .po up to date, and makes the .mo and the scripts' JSON of it
    python docs/translations.py --check    says what is untranslated, stale or not made anew, and changes nothing

Whoever adds words to a page runs it, fills the empty msgstr in backflip/studio/locale/*/LC_MESSAGES/messages.po, and
runs it once more. English is the text itself.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from backflip.feedback.projects import FLAGS

__all__ = ["LANGUAGES", "Word", "compiled", "main", "problems", "scripts", "updated", "words"]

ROOT: Final = Path(__file__).resolve().parents[1] / "backflip" / "studio"
LANGUAGES: Final = ("zh_CN",)
_NO_DATE: Final = datetime(2026, 1, 1, tzinfo=UTC)  # the same words give the same files
_PLACE: Final = "LC_MESSAGES/messages"
_REFUSALS: Final = ("Refusal", "NotAllowed", "NotFound", "Conflict")  # whose words a page shows
_PYTHON: Final[dict[str, Any]] = {"_": None, "gettext": None, "ngettext": (1, 2)} | dict.fromkeys(_REFUSALS)
_SCRIPTS: Final[dict[str, Any]] = {"t": None, "tn": (1, 2)}


class Word(NamedTuple):
    """Something that the site says: its text, or singular and plural; where it stands; whether a script says it."""

    id: str | tuple[str, ...]
    file: str
    script: bool


def words() -> Iterator[Word]:
    """All that the site says, by file."""
    for path in sorted(ROOT.rglob("*")):
        place = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py":
            yield from _found(path, place, "python", _PYTHON)
        elif path.suffix == ".html":
            options = {"trimmed": "false", "silent": "false", "extensions": "jinja2.ext.i18n"}
            yield from _found(path, place, "jinja2.ext:babel_extract", _PYTHON, options)
        elif path.suffix == ".js" and "vendor" not in path.parts:
            yield from _found(path, place, "javascript", _SCRIPTS, script=True)
    for flag in FLAGS:  # said by scripts, from data: t(flag.label)
        yield Word(flag.label, "feedback/projects.py", script=True)


def _found(
    path: Path,
    place: str,
    method: str,
    keywords: dict[str, Any],
    options: dict[str, str] | None = None,
    *,
    script: bool = False,
) -> Iterator[Word]:
    with path.open("rb") as file:
        for _, message, _, _ in extract(_method(method), file, keywords, options=options or {}):
            yield Word(message, place, script)


def _method(name: str) -> Any:
    if ":" not in name:
        return name
    module, _, function = name.partition(":")
    return getattr(__import__(module, fromlist=[function]), function)


def updated(language: str) -> Catalog:
    """The language's catalogue with all words of now: new ones are empty, and those that nobody says are gone."""
    path = _file(language, "po")
    old = _read(path, language) if path.exists() else Catalog(locale=language)
    new = Catalog(
        locale=language,
        project="Backflip",
        fuzzy=False,
        charset="utf-8",
        creation_date=_NO_DATE,
        revision_date=_NO_DATE,
    )
    for word in words():
        known: Message | None = old.get(word.id)
        new.add(word.id, known.string if known and not known.fuzzy and known.id == word.id else "")
    return new


def _read(path: Path, language: str) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=language)


def compiled(catalogue: Catalog) -> bytes:
    """The catalogue as gettext reads it."""
    target = io.BytesIO()
    write_mo(target, catalogue)
    return target.getvalue()


def scripts(catalogue: Catalog) -> str:
    """What scripts say, as pages embed it."""
    said = {}
    for word in words():
        message = catalogue.get(word.id) if word.script else None
        if message is not None and _whole(message):
            first = word.id if isinstance(word.id, str) else word.id[0]
            said[first] = message.string if isinstance(message.string, str) else list(message.string)
    return json.dumps(dict(sorted(said.items())), ensure_ascii=False, indent=1) + "\n"


def written(catalogue: Catalog) -> str:
    """The catalogue as people edit it: by the words, without dates and places, which would change with every line."""
    target = io.BytesIO()
    write_po(target, catalogue, width=120, no_location=True, omit_header=False, sort_output=True)
    lines = target.getvalue().decode().split("\n")
    dated = (
        '"POT-Creation-Date',
        '"PO-Revision-Date',
        '"Last-Translator',
        '"Language-Team',
        '"Generated-By',
        '"Report-',
    )
    return "\n".join(line for line in lines if not line.startswith(dated))


def problems(language: str) -> list[str]:
    """What is wrong with a language's files, in words; nothing where all is well."""
    po = _file(language, "po")
    if not po.exists():
        return [f"there is no {po}"]
    templates = {word.id for word in words() if word.file.endswith(".html")}
    held = {m.id for m in _read(po, language) if m.id}
    new = updated(language)
    found = [f"untranslated: {m.id!r}" for m in new if m.id and not _whole(m)]
    found += [f"stale: {key!r}" for key in held - {m.id for m in new}]
    found += [f"not in the catalogue: {m.id!r}" for m in new if m.id and m.id not in held]
    found += [f"placeholders differ: {m.id!r}" for m in new if m.id and _whole(m) and not _same_holes(m)]
    found += [
        f"not to be formatted: {m.id!r} (a per cent sign is %%)" for m in new if m.id in templates and not _formats(m)
    ]
    made = {"mo": compiled(new), "json": scripts(new).encode()}
    for kind, content in made.items():
        path = _file(language, kind)
        if not path.exists() or path.read_bytes() != content:
            found.append(f"{path.name} is not made of {po.name} as it is: run python docs/translations.py")
    return found


def _whole(message: Message) -> bool:
    return bool(message.string) if isinstance(message.string, str) else all(message.string)


def _same_holes(message: Message) -> bool:
    """Whether a translation has what is filled in at run time, and nothing else."""

    def holes(text: str) -> set[str]:
        return set(re.findall(r"%\(\w+\)s|\{\w+\}", text))

    ids = [message.id] if isinstance(message.id, str) else list(message.id)
    strings = [message.string] if isinstance(message.string, str) else list(message.string)
    wanted = set().union(*map(holes, ids))
    return all(holes(text) <= wanted and (len(ids) > 1 or holes(text) == wanted) for text in strings)


def _formats(message: Message) -> bool:
    """Whether templates can fill it in: they treat every text as a format."""
    try:
        for text in [message.string] if isinstance(message.string, str) else message.string:
            _ = text % defaultdict(str)
    except (ValueError, TypeError):
        return False
    return True


def _file(language: str, kind: str) -> Path:
    folder = ROOT / "locale" / language
    return folder / "scripts.json" if kind == "json" else folder / f"{_PLACE}.{kind}"


def main(argv: list[str] | None = None) -> int:
    """Brings all files up to date, or with --check says what is not."""
    check = "--check" in (sys.argv[1:] if argv is None else argv)
    bad = 0
    for language in LANGUAGES:
        if not check:
            catalogue = updated(language)
            _file(language, "po").parent.mkdir(parents=True, exist_ok=True)
            _file(language, "po").write_text(written(catalogue), encoding="utf-8")
            _file(language, "mo").write_bytes(compiled(catalogue))
            _file(language, "json").write_text(scripts(catalogue), encoding="utf-8")
        found = problems(language)
        print("\n".join(f"{language}: {line}" for line in found) or f"{language}: complete")
        bad += len(found)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
