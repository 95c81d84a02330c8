"""docs/cli.md lists what the command line has, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from backflip.cli import COMMANDS, CONTROL, DATA, LABEL, SAFETY

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_lists_every_command_and_no_other() -> None:
    listed = re.findall(r"^\| `backflip ([a-z ]+?)(?: [A-Z]+)?` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    groups = {"data": DATA, "label": LABEL, "safety": SAFETY}  # commands that do nothing by themselves
    wanted = [name for name in COMMANDS if name not in groups] + ["runs show"]
    wanted += [f"control {name}" for name in CONTROL]
    wanted += [f"{group} {name}" for group, commands in groups.items() for name in commands]
    assert sorted(listed) == sorted(wanted)
