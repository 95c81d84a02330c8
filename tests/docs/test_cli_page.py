"""docs/cli.md lists what the command line has, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from backflip.cli import COMMANDS, CONTROL, DATA, LABEL

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_lists_every_command_and_no_other() -> None:
    listed = re.findall(r"^\| `backflip ([a-z ]+?)(?: [A-Z]+)?` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    wanted = [name for name in COMMANDS if name not in ("data", "label")] + ["runs show"]
    wanted += [f"data {name}" for name in DATA] + [f"label {name}" for name in LABEL]
    wanted = [name for name in COMMANDS if name != "data"] + ["runs show"] + [f"data {name}" for name in DATA]
    wanted += [f"control {name}" for name in CONTROL]
    assert sorted(listed) == sorted(wanted)
