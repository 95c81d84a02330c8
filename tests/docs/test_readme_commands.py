"""Every `backflip ...` line of every page is one that the command line understands."""

from __future__ import annotations

import dataclasses
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tyro

from backflip.cli import COMMANDS, RECIPES
from backflip.demo.hopper import loop as hopper
from backflip.demo.hopper import teach
from backflip.recipes import control, data, film, label, safety

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").glob("*.md"))]
GROUPS = {
    ("data", "import"): data.ImportFile,
    ("data", "export"): data.ExportFile,
    ("data", "demonstrations"): data.DemonstrationFile,
    ("data", "prompts"): data.PromptFile,
    ("data", "withdraw"): data.Withdrawal,
    ("label", "import"): label.LabelImport,
    ("label", "export"): label.LabelExport,
    ("safety", "train"): safety.Config,
    ("safety", "check"): safety.Check,
    ("control", "alone"): control.Config,
    ("control", "demo"): hopper.Config,
    ("control", "teach"): teach.Config,
    ("control", "film"): film.Config,
}
ELSEWHERE = {
    "run": "backflip.pipeline",
    "demo": "backflip.demo.loop",
    "studio": "backflip.studio.command",
    "chat": "backflip.chat.terminal",
    "serve": "backflip.studio.chat.command",
    "report": "backflip.report.command",
    "control": "backflip.recipes.control_processes",
}
VARIABLES = {"$BASE": "base", "$STORE": "feedback.db", "$JUDGE": "python:backflip.demo.task:judge"}


def lines(page: Path) -> Iterator[str]:
    """Command lines of shell blocks, fenced or indented, with their continuations."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(
        r"^(?:    )?(?:\$ )?(backflip [a-z].*|python -m backflip\.recipes\..*)$", text, re.MULTILINE
    ):
        yield re.sub(r"\s#\s.*", "", re.sub(r"\$[A-Z]+", lambda found: VARIABLES[found[0]], line))


def words(line: str) -> list[str]:
    """The words after `backflip`, however the command is started."""
    return shlex.split(re.sub(r"^python -m backflip\.recipes\.", "backflip ", line))[1:]


def parsed(command: list[str]) -> Any:
    """What the command line makes of it, without running anything."""
    name, *rest = command
    if name == "runs":
        return rest
    if (form := GROUPS.get((name, rest[0] if rest else ""))) is not None:
        return tyro.cli(form, args=rest[1:])
    rest = [word for word in rest if word != "--resume"]  # of control: as it was begun
    return tyro.cli(importlib.import_module(ELSEWHERE.get(name, f"backflip.recipes.{name}")).Config, args=rest)


FOUND = [(page.relative_to(ROOT).as_posix(), line) for page in PAGES for line in lines(page)]


@pytest.mark.parametrize(("page", "line"), FOUND)
def test_a_command_of_a_page_is_understood(page: str, line: str) -> None:
    command = words(line)
    assert command[0] in COMMANDS
    assert parsed(command) is not None


def test_the_readme_tours_every_stage() -> None:
    toured = {words(line)[0] for page, line in FOUND if page == "README.md"}
    assert toured >= {*RECIPES, "run", "runs", "data", "demo"}


def test_make_takes_the_demo_options_that_are_shown() -> None:
    shown = re.findall(r'make demo ARGS="([^"]*)"', "\n".join(page.read_text(encoding="utf-8") for page in PAGES))
    assert shown
    for options in shown:
        assert dataclasses.is_dataclass(parsed(["demo", *shlex.split(options)]))


def test_the_python_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.findall(r"```python\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for program in found:
        exec(compile(program, "README.md", "exec"), {"__name__": "__main__"})
    assert (tmp_path / "runs/api/reward/model/model.safetensors").exists()
