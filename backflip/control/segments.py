"""A segment: some steps of one environment, as the predictor reads them and a clip shows them.

Segments are files named by their content, so that every process may read them and the same one is kept once. The true
rewards of a segment are sealed: they lie in a folder of their own, for simulated teachers and evaluators alone.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backflip.errors import DataError
from backflip.runs.files import atomic_write_bytes

__all__ = ["Recorder", "Segment", "SegmentFolder", "media_key", "segment_of"]


@dataclass(frozen=True)
class Segment:
    """`states` are poses (qpos): one more than the steps, the last being where the last step led; None for Atari."""

    env: str
    observations: NDArray[Any]  # (steps, *observation)
    actions: NDArray[Any]  # (steps, n) or (steps,)
    states: NDArray[np.float64] | None  # (steps + 1, nq)

    def __post_init__(self) -> None:
        if len(self.observations) != len(self.actions) or not len(self.actions):
            raise DataError(
                f"a segment has {len(self.observations)} observations and {len(self.actions)} actions; "
                "wanted one action an observation, and at least one"
            )

    def __len__(self) -> int:
        return len(self.actions)

    @cached_property
    def id(self) -> str:
        """sha256 of the content."""
        digest = hashlib.sha256(self.env.encode())
        for array in (self.observations, self.actions, self.states):
            if array is not None:
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def media_key(segment: Segment) -> str:
    """The key of a clip that nobody will look at: poses would be JSON, pictures a film."""
    return f"{segment.id}.{'mp4' if segment.states is None else 'json'}"


def segment_of(media: str) -> str:
    """The name under which the segment is filed that a clip's key shows."""
    return media.partition(".")[0]


class SegmentFolder:
    """`segments` and, for those who may see them, `sealed` rewards under a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "segments"
        self._sealed = folder / "sealed"

    def put(self, segment: Segment, *, rewards: NDArray[np.float64] | None = None, name: str | None = None) -> str:
        """Keeps a segment under the stem of its clip's key (its id, where no clip is made), its true rewards apart."""
        name = name or segment.id
        path = self._folder / f"{name}.npz"
        if not path.exists():
            if rewards is not None:
                atomic_write_bytes(self._sealed / f"{name}.npy", _bytes(np.save, rewards))
            states = {} if segment.states is None else {"states": segment.states}
            parts = {"observations": segment.observations, "actions": segment.actions, **states}
            atomic_write_bytes(path, _bytes(np.savez, env=np.array(segment.env), **parts))
        return name

    def get(self, name: str) -> Segment:
        """The segment of this name; DataError if there is none."""
        path = self._folder / f"{name}.npz"
        try:
            with np.load(path, allow_pickle=False) as parts:
                states = parts["states"] if "states" in parts.files else None
                return Segment(str(parts["env"]), parts["observations"], parts["actions"], states)
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"segment {name[:12]} cannot be read from {path} ({error}); wanted the file that its run wrote: "
                "restore the run's folder, or withdraw the answers about it"
            ) from error

    def rewards(self, name: str) -> NDArray[np.float64] | None:
        """The sealed true rewards; None where none were kept."""
        path = self._sealed / f"{name}.npy"
        if not path.exists():
            return None
        rewards: NDArray[np.float64] = np.load(path, allow_pickle=False)
        return rewards


def _bytes(save: Any, *args: Any, **arrays: Any) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *args, **arrays)
    return buffer.getvalue()


class Recorder:
    """The steps of a rollout, of which segments are cut. It is the `witness` of the environments, if any is wanted."""

    def __init__(self, env: str) -> None:
        self._env = env
        self._observations: list[NDArray[Any]] = []
        self._actions: list[NDArray[Any]] = []
        self._states: list[NDArray[np.float64] | None] = []
        self._rewards: list[NDArray[np.float64]] = []

    def witness(self, rewards: NDArray[np.float64]) -> None:
        """Is told the true rewards of a step; nobody but `cut` and `paid` read them."""
        self._rewards.append(np.array(rewards))

    def start(self, states: NDArray[np.float64] | None) -> None:
        """Forgets the rollout before; `states` are the poses that this one starts from."""
        self._observations, self._actions, self._rewards = [], [], []
        self._states = [states]

    def record(self, observations: NDArray[Any], actions: NDArray[Any], states: NDArray[np.float64] | None) -> None:
        """A step: what was seen, what was done, and the poses that this led to."""
        self._observations.append(np.array(observations))
        self._actions.append(np.array(actions))
        self._states.append(states)

    def __len__(self) -> int:
        return len(self._actions)

    @property
    def poses(self) -> NDArray[np.float64] | None:
        """All poses, (steps + 1, count, nq)."""
        kept = [s for s in self._states if s is not None]
        return np.stack(kept) if len(kept) == len(self._states) else None

    @property
    def observations(self) -> NDArray[Any]:
        return np.stack(self._observations)

    @property
    def actions(self) -> NDArray[Any]:
        return np.stack(self._actions)

    def paid(self) -> float | None:
        """The mean true reward of a step, for curves that people look at; None where nobody is told it."""
        return float(np.mean(self._rewards)) if self._rewards else None

    def cut(self, places: Sequence[tuple[int, int]], length: int) -> list[tuple[Segment, NDArray[np.float64] | None]]:
        """Segments (with sealed rewards) of `length` steps from each place: (environment, first step)."""
        observations, actions, poses = self.observations, self.actions, self.poses
        rewards = np.stack(self._rewards) if self._rewards else None
        found = []
        for env, first in places:
            steps = slice(first, first + length)
            states = None if poses is None else poses[first : first + length + 1, env].copy()
            segment = Segment(self._env, observations[steps, env].copy(), actions[steps, env].copy(), states)
            found.append((segment, None if rewards is None else rewards[steps, env].copy()))
        return found
