"""Which code made a run: the package's version, and the commit when it runs from a checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import backflip

__all__ = ["code_version"]


def code_version() -> dict[str, Any]:
    """`{"version", "commit", "dirty"}`; commit and dirty are None outside a git checkout.

    `dirty` says whether the package's own files differ from the commit; other files of the checkout do not count.
    """
    package = Path(backflip.__file__).parent
    commit = _git(package, "rev-parse", "HEAD") if (package.parent / ".git").exists() else None
    changes = _git(package, "status", "--porcelain", "--", ".") if commit else None
    return {"version": backflip.__version__, "commit": commit, "dirty": None if changes is None else bool(changes)}


def _git(folder: Path, *words: str) -> str | None:
    """What git prints, or None where it is not installed, has no commit yet, or does not trust the folder's owner."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
