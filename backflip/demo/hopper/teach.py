"""`backflip control teach`: a simulated teacher with an account in a studio, who answers a run's questions over HTTP.

It takes the way that people take: it signs in, is handed a question, looks at both clips for as long as a person would,
and sends its answer to the API that the Compare page uses. What it wants is the run's own `teacher`.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backflip.config import require
from backflip.control.teachers import Teacher
from backflip.demo.hopper.desk import work_at_desk
from backflip.errors import ConfigError
from backflip.feedback.store import Store
from backflip.recipes.control_processes import Config as Training
from backflip.recipes.control_processes import read_config
from backflip.runs.lineage import read_run
from backflip.studio.accounts.entry import Accounts
from backflip.studio.client import Client
from backflip.studio.users import User

__all__ = ["TOKEN", "Config", "run"]

TOKEN: Final = "BACKFLIP_TOKEN"
_SPREAD: Final = 0.5  # deviation of the logarithm of a person's times
_TRIES: Final = 10  # about a minute: a studio that was killed has time to come back
_OPERATOR: Final = User("operator", "operator", "admin")


@dataclass(frozen=True)
class Config:
    """A simulated teacher answers a run's questions through a studio, over HTTP, in a person's time."""

    folder: Path
    """The run's folder, of `backflip control --labellers people`; its `teacher` says what is wanted."""
    studio: str = "http://127.0.0.1:8765"
    """Where the studio is that is open on the run's store."""
    token: str = ""
    """Of an account there (Admin, People: an account for a script), or in BACKFLIP_TOKEN; without either the account
    `name` is made in the run's store, which whoever started the run may do."""
    name: str = "teacher"
    """The account's name, where it is made here."""
    seconds_an_answer: float = 4.0
    """The median of its times for an answer (H: people need 3 to 5)."""
    answers: int = 0
    """Leave after so many; 0: when the run ends."""
    seed: int = 0
    """Of its mistakes and its times."""

    def __post_init__(self) -> None:
        require(self.seconds_an_answer >= 0, "seconds_an_answer", seen=self.seconds_an_answer, wanted="0 or more")
        require(self.answers >= 0, "answers", seen=self.answers, wanted="0 or more")
        require(bool(self.name), "name", seen=self.name, wanted="the name of an account")


def run(config: Config) -> str:
    """Answers until the run ends, and says how many.

    Raises ConfigError where there is no run, or its teacher goes by the true reward, which nobody sees in a studio;
    FeedbackError where the studio refuses or is away for long.
    """
    training = read_config(config.folder)
    if training.teacher.goal == "reward":
        raise ConfigError(
            "the run's teacher.goal is 'reward', which is sealed from all who look at clips; wanted a goal that is "
            "seen in them (backflip, forward), or a teacher within the run: --labellers simulated"
        )
    token = config.token or os.environ.get(TOKEN, "") or _join(config, training)
    teacher = Teacher(training.teacher, seed=config.seed)
    with Client(config.studio, token, project=training.project, tries=_TRIES) as client:
        most = config.answers or math.inf
        given = work_at_desk(
            client,
            teacher,
            config.folder,
            takes=_times(config),
            goes_on=lambda given: given < most and _under_way(config.folder),
        )
    return f"{given} answers given through {config.studio}"


def _times(config: Config) -> Callable[[], float]:
    draw = random.Random(f"{config.seed} {time.time_ns()}")
    return lambda: config.seconds_an_answer * draw.lognormvariate(0, _SPREAD)


def _under_way(folder: Path) -> bool:
    record = read_run(folder)
    return record is not None and record.status == "running"


def _join(config: Config, training: Training) -> str:
    """A token of the teacher's account, which is made if there is none."""
    with Store.open(training.place) as store:
        accounts = Accounts(store, time.time, session_seconds=60)
        if config.name in {member.user.id for member in accounts.people.all()}:
            return accounts.credentials.make_token(config.name, "backflip control teach")
        projects = [training.project]
        return accounts.add_script(config.name, kind="simulated", projects=projects, admin=_OPERATOR, address="")
