"""What quality and consensus need of SciPy, which is no core dependency and takes a second to import."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Literal

from backflip.errors import DependencyError

__all__ = ["scipy"]


def scipy(part: Literal["special", "stats"]) -> ModuleType:
    """SciPy's module of this name. Raises DependencyError where it is not installed."""
    try:
        return importlib.import_module(f"scipy.{part}")
    except ImportError as error:
        raise DependencyError(
            "quality and consensus need scipy, which is not installed; install it with: pip install 'backflip[studio]'"
        ) from error
