"""What a configuration names: `python:package.module:function`, and one group's reward, `FOLDER#GROUP`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backflip.errors import ConfigError

__all__ = ["PYTHON", "imported", "split_group"]

PYTHON = "python:"


def imported(spec: str, *, what: str, signature: str) -> Callable[..., Any]:
    """The function that `spec` names; `what` and `signature` say in errors what it is for and what it must look like.

    Raises ConfigError where there is no such function.
    """
    module, _, name = spec.removeprefix(PYTHON).rpartition(":")
    wanted = f"'python:package.module:function', a function {signature} that can be imported"
    if not module or not name:
        raise ConfigError(f"{what} {spec!r} names no module or no function; wanted {wanted}")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{what} {spec!r} cannot be imported ({error}); wanted {wanted}") from error
    if not callable(function):
        raise ConfigError(f"{what} {spec!r} is a {type(function).__name__}; wanted {wanted}")
    found: Callable[..., Any] = function
    return found


def split_group(spec: str | Path) -> tuple[str, str | None]:
    """`FOLDER#GROUP` -> the folder and the group; None where no group is named, or a folder is so called."""
    folder, mark, group = str(spec).rpartition("#")
    return (str(spec), None) if not mark or Path(spec).is_dir() else (folder, group)
