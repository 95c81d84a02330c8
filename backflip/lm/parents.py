"""Models and functions as parents of a run: what a folder, a hub's name or a spec is known by.

Without torch: those who label do without.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from backflip.lm.specs import PYTHON
from backflip.runs.files import sha256_of
from backflip.runs.lineage import Parent, producer

__all__ = ["SOURCE_FILE", "parent_of", "parents_of", "weights_digest"]

SOURCE_FILE = "backflip_source.json"  # beside a fetched model's weights: where they came from, and their sha256
_CONTENT = ("config.json", "*.safetensors", "*.bin")


def parent_of(spec: str | Path) -> Parent:
    """The parent that `spec` names: `python:module:function` is data, all else a model.

    A folder that no run made carries a sha256 of what it holds, so that other weights under its name are another
    parent; a run's model is known by the run.
    """
    named = str(spec)
    if named.startswith(PYTHON):
        return Parent("data", named)
    folder = Path(named)
    known = not folder.is_dir() or producer(folder) is not None
    return Parent("model", named, {} if known else _digest(folder))


def parents_of(specs: Iterable[str | Path]) -> list[Parent]:
    """Those of several specs, each once, in their order."""
    return [parent_of(spec) for spec in dict.fromkeys(map(str, specs))]


def weights_digest(folder: str | Path) -> str:
    """The sha256 (hex) that a model folder's weights are known by; "" where the folder holds none."""
    return _digest(Path(folder)).get("sha256", "")


def _digest(folder: Path) -> dict[str, str]:
    source = folder / SOURCE_FILE
    if source.is_file():
        return {"sha256": str(json.loads(source.read_bytes())["sha256"])}
    files = [path for pattern in _CONTENT for path in sorted(folder.glob(pattern))]
    return {"sha256": sha256_of(*files)} if files else {}
