"""Every word of the site has its Chinese: extracted here from Python, templates and scripts, and held to the files."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from backflip.studio.i18n import script_catalogue, translations

TOOL = Path(__file__).parents[2] / "docs" / "translations.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_translations", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_nothing_is_untranslated_or_stale(tool: Any) -> None:
    found = [problem for language in tool.LANGUAGES for problem in tool.problems(language)]
    assert found == [], "run python docs/translations.py, fill the empty msgstr, and run it again"


def test_words_are_found_in_all_three_kinds_of_files(tool: Any) -> None:
    kinds = {Path(word.file).suffix for word in tool.words()}
    assert kinds == {".py", ".html", ".js"}


def test_a_word_that_is_new_or_gone_is_named(tool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [word for word in tool.words() if word.id != "Undo"]
    new = [*said, tool.Word("A word that nobody translated", "x.html", script=False)]
    monkeypatch.setattr(tool, "words", lambda: iter(new))
    found = tool.problems("zh_CN")
    assert "untranslated: 'A word that nobody translated'" in found
    assert "stale: 'Undo'" in found


def test_placeholders_are_kept(tool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = tool.updated("zh_CN")
    catalogue.get("step {n}").string = "第 {m} 步"
    monkeypatch.setattr(tool, "updated", lambda _: catalogue)
    assert "placeholders differ: 'step {n}'" in tool.problems("zh_CN")


def test_run_time_needs_no_babel() -> None:
    assert translations("zh_CN").gettext("Rank") == "排序"
    assert translations("en").gettext("Rank") == "Rank"
    assert translations("zh_CN").ngettext("%(num)s question", "%(num)s questions", 2) == "%(num)s 个问题"
    said = script_catalogue("zh_CN")
    assert said["step {n}"] == "第 {n} 步"
    assert script_catalogue("en") == {}
