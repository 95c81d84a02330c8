"""The demo of control: from processes to GIF and page, at a size that learns nothing; and the teacher at the desk."""

from __future__ import annotations

import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from backflip.control.segments import Segment, SegmentFolder
from backflip.control.teachers import Teacher, TeacherSettings, forward_steps
from backflip.demo.hopper.desk import work_at_desk
from backflip.demo.hopper.loop import Config, run
from backflip.demo.hopper.page import chart
from backflip.errors import ConfigError
from backflip.records import Candidate, Prompt

TINY: dict[str, Any] = {
    "env.count": 4,
    "env.horizon": 20,
    "stages": (),
    "agent.steps": 20,
    "agent.epochs": 1,
    "agent.hidden": 8,
    "predictor.hidden": 8,
    "clip": 8,
    "first_fit": 5,
    "fit": 5,
    "episodes": 2,
    "evaluation_horizon": 30,
    "checkpoint_every": 5,
    "look_every": 0.2,
}


def test_the_demo_ends_with_a_gif_and_a_page(tmp_path: Path) -> None:
    config = Config(folder=tmp_path, answers=8, steps=1600)
    page = run(config, console=Console(quiet=True), changes=TINY)
    with Image.open(BytesIO((tmp_path / "hopper.gif").read_bytes())) as film:
        assert (film.format, film.size, getattr(film, "n_frames", 1)) == ("GIF", (524, 260), 11)
    text = page.read_text(encoding="utf-8")
    assert "data:image/gif;base64," in text
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)  # nothing is loaded from elsewhere
    assert text.count("<svg") >= 1
    figures = json.loads((tmp_path / "summary.json").read_bytes())
    assert figures["result"]["steps"] == 1600
    assert {"metres", "true_return", "airborne_turns"} < set(figures["before"])
    assert "2.50 times" in text or "2.5 times" in text


def test_a_chart_needs_two_points_and_escapes_its_title() -> None:
    assert chart("x", [(1, 2)]) == ""
    drawn = chart("a < b", [(0, 1.0), (10, 3.0), (20, 2.0)])
    assert "a &lt; b" in drawn
    assert 'points="40.0,150.0 195.0,20.0 350.0,85.0"' in drawn


def test_too_few_answers_are_refused() -> None:
    with pytest.raises(ConfigError, match="answers is 3; wanted 8 or more"):
        Config(answers=3)


def test_the_forward_teacher_likes_a_hopper_that_comes_forward_on_its_foot() -> None:
    poses = np.zeros((4, 6))
    poses[:, 0], poses[:, 1] = [0.0, 0.01, 0.03, 0.03], 1.25
    assert forward_steps(poses).tolist() == pytest.approx([2.0, 3.0, 1.0])
    poses[:, 1] = 0.05  # its torso lies on the floor
    assert forward_steps(poses).tolist() == [-1.0] * 3


class Desk:
    """A studio that asks two questions, and keeps what it is told."""

    def __init__(self, tasks: list[Any]) -> None:
        self.tasks, self.told = tasks, []

    def lease(self, count: int = 1) -> list[Any]:
        given, self.tasks = self.tasks[:count], self.tasks[count:]
        return given

    def answer(self, task: Any, tiers: Any, *, seconds: float | None = None) -> int:
        self.told.append((task, tiers, seconds))
        return len(self.told)


class Task:
    def __init__(self, *candidates: Candidate) -> None:
        self.prompt, self.candidates = Prompt.ask("further?"), {c.id: c for c in candidates}


def test_a_teacher_at_the_desk_answers_one_by_one_and_takes_its_time(tmp_path: Path) -> None:
    segments, candidates = SegmentFolder(tmp_path), []
    for way in (0.0, 1.0, 2.0):
        poses = np.zeros((5, 6))
        poses[:, 0], poses[:, 1] = np.linspace(0, way, 5), 1.25
        segment = Segment("Hopper-v5", np.zeros((4, 11), np.float32), np.zeros((4, 3), np.float32), poses)
        candidates.append(Candidate(media=f"{segments.put(segment)}.json"))
    slow, medium, fast = candidates
    desk, slept = Desk([Task(slow, fast), Task(medium, slow)]), []
    teacher = Teacher(TeacherSettings(goal="forward", mistakes=0.0), seed=0)
    given = work_at_desk(
        desk, teacher, tmp_path, takes=lambda: 4.0, goes_on=lambda given: given < 2, sleep=slept.append
    )
    assert (given, slept) == (2, [4.0, 4.0])
    assert [(tiers, seconds) for _, tiers, seconds in desk.told] == [
        (((fast.id,), (slow.id,)), 4.0),
        (((medium.id,), (slow.id,)), 4.0),
    ]
