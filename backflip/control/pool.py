"""Clips that may be asked about: a short queue of files from the agent to whoever asks. Old ones are dropped.

The agent leaves a pack after each rollout and never waits; of packs beyond `keep` the oldest go. Whoever asks takes
from the newest. Nothing that was asked about lies only here: asking files the segment for good.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from backflip.control.conversation import Clip
from backflip.control.segments import Segment
from backflip.runs.files import atomic_write_bytes, sweep_partial

__all__ = ["Pack", "Pool"]

_NAME: Final = re.compile(r"rollout-(\d+)-(\d+)\.npz")


class Pack(NamedTuple):
    """Clips of one rollout, which ended after `steps` environment steps."""

    rollout: int
    steps: int
    clips: list[Clip]


class Pool:
    """The packs in one folder; one process leaves them, another takes them."""

    def __init__(self, folder: Path, *, keep: int = 6) -> None:
        self._folder, self._keep = folder, keep

    def leave(self, pack: Pack) -> None:
        """Adds a pack of at least one clip, all of one length, and drops those that are too many."""
        segments = [segment for segment, _ in pack.clips]
        arrays: dict[str, Any] = {
            "observations": np.stack([s.observations for s in segments]),
            "actions": np.stack([s.actions for s in segments]),
        }
        arrays |= _stacked("states", [s.states for s in segments])
        arrays |= _stacked("sealed", [rewards for _, rewards in pack.clips])
        buffer = io.BytesIO()
        np.savez(buffer, env=np.array(segments[0].env), **arrays)
        if self._folder.is_dir():
            sweep_partial(self._folder)
        atomic_write_bytes(self._folder / f"rollout-{pack.rollout:08d}-{pack.steps}.npz", buffer.getvalue())
        for _, _, path in self._listed()[: -self._keep]:
            path.unlink(missing_ok=True)

    def newest(self, *, count: int = 1, after: int = -1) -> list[Pack]:
        """The newest packs of rollouts later than `after`, oldest first; those dropped meanwhile are left out."""
        listed = [entry for entry in self._listed() if entry[0] > after]
        found = [_read(rollout, steps, path) for rollout, steps, path in listed[-count:]]
        return [pack for pack in found if pack is not None]

    def latest(self) -> tuple[int, int]:
        """(rollout, steps) of the newest pack; (0, 0) if there is none yet."""
        listed = self._listed()
        return listed[-1][:2] if listed else (0, 0)

    def _listed(self) -> list[tuple[int, int, Path]]:
        names = ((_NAME.fullmatch(path.name), path) for path in self._folder.glob("rollout-*.npz"))
        return sorted((int(name[1]), int(name[2]), path) for name, path in names if name)


def _stacked(name: str, arrays: Sequence[Any]) -> dict[str, Any]:
    known = [array for array in arrays if array is not None]
    return {name: np.stack(known)} if len(known) == len(arrays) else {}


def _read(rollout: int, steps: int, path: Path) -> Pack | None:
    try:
        with np.load(path, allow_pickle=False) as parts:
            arrays = {name: parts[name] for name in parts.files}
    except FileNotFoundError:
        return None
    count = len(arrays["actions"])
    states, sealed = (arrays.get(name, [None] * count) for name in ("states", "sealed"))
    rows = zip(arrays["observations"], arrays["actions"], states, sealed, strict=True)
    return Pack(rollout, steps, [(Segment(str(arrays["env"]), o, a, s), r) for o, a, s, r in rows])
