"""A simulated teacher's process: takes questions from the store as a person would, and answers each in its own time."""

from __future__ import annotations

import json
import time

from backflip.control.teachers import Teacher
from backflip.feedback.store import Store
from backflip.recipes.control_processes.config import Config, conversation_of
from backflip.runs.files import atomic_write_json

__all__ = ["MEMORY", "answer"]

_LOOK = 0.1  # seconds between two looks where nothing is asked
MEMORY = "teacher.json"  # how strict it has become
_AT_ONCE = 16  # questions taken together by a teacher that takes no time


def answer(config: Config, fingerprint: str) -> None:  # noqa: ARG001  all processes are begun alike
    """Answers until the process is ended; questions that a killed one held come first."""
    teacher, memory = Teacher(config.teacher, seed=config.seed), config.folder / MEMORY
    if memory.exists():
        teacher.restore(json.loads(memory.read_bytes()))
    with Store.open(config.place) as store:
        talk = conversation_of(config, store)
        held = [lease.question for lease in store.held(teacher.labeller.id, project=config.project)]
        waiting = [held] if held else []
        while True:
            for questions in waiting:
                time.sleep(config.seconds_an_answer * len(questions))
                talk.have_answered(teacher, questions)
                atomic_write_json(memory, teacher.state())
            count = 1 if config.seconds_an_answer else _AT_ONCE
            leases = store.leases(teacher.labeller, count=count, project=config.project, purpose=talk.purpose)
            waiting = [[lease.question for lease in leases]] if leases else []
            if not waiting:
                time.sleep(_LOOK)
