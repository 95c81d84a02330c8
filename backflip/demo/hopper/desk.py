"""A simulated teacher at the studio's desk: it answers over HTTP as a person would, one question after the other.

It sees the clips that the run's folder holds under the keys that the studio names, and takes a person's time for each
answer. This is how the whole path that people use is put to the test.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from backflip.control.segments import SegmentFolder, segment_of
from backflip.control.teachers import Teacher
from backflip.recipes.control_processes.answering import MEMORY
from backflip.records import Candidate, Prompt, Question
from backflip.runs.files import atomic_write_json

__all__ = ["Desk", "work_at_desk"]

_LOOK: Final = 0.2  # seconds between two looks where nothing is asked


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
    takes: Callable[[], float],
    goes_on: Callable[[int], bool],
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Answers while `goes_on(given so far)`, each in the seconds that it `takes()`; returns how many.

    What the teacher has become used to is kept in the run's folder, so that another may take its seat.
    """
    segments, given, memory = SegmentFolder(folder), 0, folder / MEMORY
    if memory.exists():
        teacher.restore(json.loads(memory.read_bytes()))
    while goes_on(given):
        tasks = desk.lease()
        if not tasks:
            sleep(_LOOK)
        for task in tasks:
            seconds = takes()
            sleep(seconds)
            desk.answer(task, _tiers(teacher, segments, task), seconds=seconds)
            atomic_write_json(memory, teacher.state())
            given += 1
    return given


def _tiers(teacher: Teacher, segments: SegmentFolder, task: Task) -> tuple[tuple[str, ...], ...]:
    candidates = task.candidates
    names = {key: segment_of(str(candidate.media)) for key, candidate in candidates.items()}
    clips = {key: (segments.get(name), segments.rewards(name)) for key, name in names.items()}
    question = Question("clip", tuple(candidates.values()), task.prompt)
    return teacher.answer([(question, clips)])[0].tiers
