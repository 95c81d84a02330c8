"""A project: what labellers are told and asked, how many answers a question wants, who may answer, and pause.

A project that nobody described is there as soon as it has questions, with these defaults.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import sqlalchemy as sa

from backflip import config
from backflip.config import require
from backflip.feedback.codec import dump
from backflip.feedback.schema import lanes, projects
from backflip.feedback.shelves import Shelves

__all__ = ["EVERYBODY", "FLAGS", "GOLD", "QUALIFICATION", "TESTS", "Flag", "Project", "Projects"]

GOLD: Final = "gold"
QUALIFICATION: Final = "qualification"
TESTS: Final = (GOLD, QUALIFICATION)  # purposes that test labellers; their questions have a maker's answer
EVERYBODY: Final = 1_000_000  # the overlap of such questions


@dataclass(frozen=True)
class Flag:
    """Something that may be wrong with (or true of) an answer, ticked by the labeller."""

    name: str
    label: str


# InstructGPT's (arXiv 2203.02155, table 3), in its order.
FLAGS: Final = (
    Flag("fails_instruction", "Fails to follow the instruction"),
    Flag("inappropriate", "Inappropriate for a customer assistant"),
    Flag("hallucination", "Hallucination"),
    Flag("satisfies_constraint", "Satisfies the stated constraint"),
    Flag("sexual", "Sexual content"),
    Flag("violent", "Violent content"),
    Flag("encourages_violence", "Encourages violence or self-harm"),
    Flag("denigrates", "Denigrates a protected class"),
    Flag("harmful_advice", "Gives harmful advice"),
    Flag("opinion", "Expresses an opinion"),
    Flag("moral_judgement", "Expresses a moral judgement"),
)


@dataclass(frozen=True)
class Project:
    """One project's settings."""

    name: str
    title: str = ""
    """What labellers see; empty: the name."""
    instructions: str = ""
    """Markdown."""
    state: Literal["open", "paused"] = "open"
    """Paused: nothing is handed out; answers to what is out already are kept."""
    overlap: int = 1
    """Answers wanted to a question that is added here."""
    rating: bool = False
    """Whether each answer gets a rating from 1 to 7."""
    flagging: bool = False
    """Whether each answer gets flags."""
    flags: tuple[Flag, ...] = FLAGS
    """The flags there are."""
    review: bool = False
    """Whether a demonstration counts only when it was accepted."""
    prompts: str = ""
    """The prompt set that demonstrations are written to; empty: the one of the project's name."""
    qualification: float = 0.0
    """The share of the qualification questions to pass before anything else is handed out; 0: nobody is tested."""
    gold: float = 0.05
    """The share of gold questions among those handed out, while there are some."""
    groups: tuple[str, ...] = ()
    """The attributes that labellers are asked about, if they like to say: language, region, ..."""

    def __post_init__(self) -> None:
        require(0 < len(self.name) <= 100, "name", seen=self.name, wanted="1 to 100 characters")
        require("/" not in self.name, "name", seen=self.name, wanted="a name without /")
        require(self.state in ("open", "paused"), "state", seen=self.state, wanted="open or paused")
        require(1 <= self.overlap < EVERYBODY, "overlap", seen=self.overlap, wanted=f"1 to {EVERYBODY - 1}")
        require(0 <= self.qualification <= 1, "qualification", seen=self.qualification, wanted="0 to 1")
        require(0 <= self.gold <= 1, "gold", seen=self.gold, wanted="0 to 1")
        names = [flag.name for flag in self.flags]
        require(len(set(names)) == len(names), "flags", seen=names, wanted="each name once")

    @property
    def prompt_set(self) -> str:
        return self.prompts or self.name


class Projects:
    """The projects of a store."""

    def __init__(self, store: Shelves) -> None:
        self._database = store.database

    def find(self, name: str) -> Project | None:
        """The project, as it was saved or (if it has questions) by default; None if there is none."""
        described = sa.select(projects.c.payload).where(projects.c.name == name)
        with self._database.read() as connection:
            payload = connection.scalar(described)
            if payload is None and connection.scalar(sa.select(lanes.c.project).where(lanes.c.project == name)) is None:
                return None
        return Project(name) if payload is None else _decode(payload)

    def all(self) -> list[Project]:
        """All projects, by name."""
        with self._database.read() as connection:
            described = {row.name: _decode(row.payload) for row in connection.execute(sa.select(projects))}
            asked = connection.scalars(sa.select(lanes.c.project).distinct()).all()
        known = {name: Project(name) for name in asked} | described
        return [known[name] for name in sorted(known)]

    def save(self, project: Project) -> None:
        """Adds or replaces a project's settings."""
        payload = dump(config.dump(project))
        with self._database.write() as connection:
            row = sa.update(projects).where(projects.c.name == project.name).values(payload=payload)
            if not connection.execute(row).rowcount:
                connection.execute(sa.insert(projects).values(name=project.name, payload=payload))


@lru_cache(maxsize=256)
def _decode(payload: str) -> Project:
    return config.from_dict(Project, json.loads(payload))
