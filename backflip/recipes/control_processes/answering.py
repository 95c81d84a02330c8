"""A simulated teacher's process: takes questions from the store as a person would, and answers each in its own time."""

from __future__ import annotations

import time

from backflip.control.teachers import Teacher
from backflip.feedback.store import Store
from backflip.recipes.control_processes.config import Config, conversation_of

__all__ = ["answer"]

_LOOK = 0.1  # seconds between two looks where nothing is asked
_AT_ONCE = 16  # questions taken together by a teacher that takes no time


def answer(config: Config, fingerprint: str) -> None:  # noqa: ARG001  all processes are begun alike
    """Answers until the process is ended; questions that a killed one held come first."""
    teacher = Teacher(config.teacher, seed=config.seed)
    labeller = teacher.labeller
    with Store.open(config.place) as store:
        talk = conversation_of(config, store)
        questions = [lease.question for lease in store.held(labeller.id, project=config.project)]
        while True:
            pause = config.seconds_an_answer
            for question in questions:
                time.sleep(pause)
                talk.have_answered(teacher, [question])
            count = 1 if pause else _AT_ONCE
            leases = store.leases(labeller, count=count, project=config.project, purpose=talk.purpose)
            questions = [lease.question for lease in leases]
            if not questions:
                time.sleep(_LOOK)
