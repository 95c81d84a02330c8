"""A simulated teacher at the studio's desk: it answers over HTTP as a person would, one question after the other.

It sees the clips that the run's folder holds under the keys that the studio names, and takes a person's time for each
answer. This is how the whole path that people use is put to the test.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from backflip.control.segments import SegmentFolder, segment_of
from backflip.control.teachers import Teacher
from backflip.records import Candidate, Prompt, Question

__all__ = ["Desk", "work_at_desk"]


class Task(Protocol):
    """A question that waits for this labeller (backflip.studio.client.Task)."""

    @property
    def prompt(self) -> Prompt | None: ...
    @property
    def candidates(self) -> Mapping[str, Candidate]: ...


class Desk(Protocol):
    """Where it sits: backflip.studio.client.Client, of a project."""

    def lease(self, count: int = 1) -> list[Any]: ...
    def answer(self, task: Any, tiers: Sequence[Sequence[str]], *, seconds: float | None = None) -> int: ...


def work_at_desk(
    desk: Desk,
    teacher: Teacher,
    folder: Path,
    *,
    seconds: float,
    goes_on: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Answers while `goes_on()`, each answer after `seconds`; returns how many."""
    segments, given = SegmentFolder(folder), 0
    while goes_on():
        tasks = desk.lease()
        if not tasks:
            sleep(min(1.0, max(seconds, 0.05)))
        for task in tasks:
            sleep(seconds)
            desk.answer(task, _tiers(teacher, segments, task), seconds=seconds)
            given += 1
    return given


def _tiers(teacher: Teacher, segments: SegmentFolder, task: Task) -> tuple[tuple[str, ...], ...]:
    candidates = task.candidates
    names = {key: segment_of(str(candidate.media)) for key, candidate in candidates.items()}
    clips = {key: (segments.get(name), segments.rewards(name)) for key, name in names.items()}
    question = Question("clip", tuple(candidates.values()), task.prompt)
    return teacher.answer([(question, clips)])[0].tiers
