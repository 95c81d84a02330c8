"""Clips: poses for planar robots, films for the rest, each made once; and what is said where nothing can be drawn."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from backflip.control import render
from backflip.control.clips import Filming, figure_of, planar_clip, speed
from backflip.control.segments import Segment
from backflip.errors import DataError, DependencyError, OutOfSpace
from backflip.feedback.media import Media


def segment(env: str, states: np.ndarray | None, observations: np.ndarray | None = None) -> Segment:
    steps = 8 if states is None else len(states) - 1
    seen = np.zeros((steps, 3), np.float32) if observations is None else observations
    return Segment(env, seen, np.zeros((steps, 1), np.float32), states)


def pictures_of(film: Path, count: int = 8) -> np.ndarray:
    """The film's pictures, decoded by ffmpeg."""
    from imageio_ffmpeg import get_ffmpeg_exe

    command = [get_ffmpeg_exe(), "-v", "error", "-i", str(film), "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    side = math.isqrt(len(raw) // count)
    return np.frombuffer(raw, np.uint8).reshape(-1, side, side)


def test_a_planar_robot_is_its_poses(tmp_path: Path) -> None:
    media = Media(tmp_path)
    states = np.full((61, 6), [0, 1.25, 0, 0, 0, -0.0])
    states[:, 0] = np.linspace(0, 1, 61)
    with Filming(media) as film:
        key = film(segment("Hopper-v5", states))
        assert film(segment("Hopper-v5", states + 1e-7)) == key  # a tenth of a millimetre is what is kept
    clip = media.read_json(key)
    assert (clip["format"], clip["robot"], clip["dt"], clip["fps"]) == ("planar", "hopper", 0.008, 40.0)
    assert len(clip["qpos"]) == 61
    assert len(media.read(key)) < 4000
    assert speed(clip) == pytest.approx(0.32)  # Hopper: three times slower than real time
    assert "-0.0" not in json.dumps(clip)


def test_slow_robots_are_shown_in_real_time() -> None:
    cheetah = figure_of("HalfCheetah-v4")
    assert cheetah is not None
    assert speed(planar_clip(cheetah, np.zeros((3, 9)))) == pytest.approx(1)
    assert figure_of("Ant-v5") is None


def test_a_game_is_a_film_of_its_newest_pictures(tmp_path: Path) -> None:
    media = Media(tmp_path)
    stacks = np.zeros((8, 4, 84, 84), np.uint8)
    for step in range(8):
        stacks[step, 3, :, 10 * step : 10 * step + 10] = 255
    with Filming(media) as film:
        key = film(segment("ALE/Pong-v5", None, stacks))
        assert film(segment("ALE/Pong-v5", None, stacks)) == key
    assert key.endswith(".mp4")
    shown = pictures_of(media.path(key))
    assert len(shown) == 8
    assert all(shown[step, :, 40 * step + 8 : 40 * step + 32].mean() > 200 for step in range(8))
    assert all(shown[step, :, 40 * step + 60 :].mean() < 40 for step in range(7))


def test_a_fast_robot_is_filmed_at_every_second_step(tmp_path: Path) -> None:
    media = Media(tmp_path)
    poses = np.zeros((9, 4))
    poses[:, 0] = np.linspace(0, 2, 9)  # a Reacher, 50 steps a second, turns its arm
    with Filming(media) as film:
        shown = pictures_of(media.path(film(segment("Reacher-v5", poses))), count=5)
    assert shown.shape == (5, 256, 256)
    assert all(np.abs(a.astype(int) - b).mean() > 0.2 for a, b in pairwise(shown))


def test_webm_where_a_browser_lacks_h264(tmp_path: Path) -> None:
    with Filming(Media(tmp_path), kind="webm") as film:
        key = film(segment("ALE/Pong-v5", None, np.zeros((8, 4, 84, 84), np.uint8)))
    assert film.media.read(key)[:4] == b"\x1a\x45\xdf\xa3"  # EBML


def test_other_robots_are_rendered_off_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log where it stands
    with render.Renderer("Reacher-v5", width=64, height=64) as renderer:
        straight = renderer.draw(np.array([0.0, 0.0, 0.1, 0.1]))
        bent = renderer.draw(np.array([2.0, 1.0, 0.1, 0.1]))
        assert (straight == renderer.draw(np.array([0.0, 0.0, 0.1, 0.1]))).all()
        with pytest.raises(DataError, match="a pose has shape"):
            renderer.draw(np.zeros(3))
    assert straight.std() > 5
    assert (straight != bent).any(axis=-1).mean() > 0.005


def test_without_a_renderer_both_failures_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "_PROBE", "import sys; sys.exit('no {} here')")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    render.find_backend.cache_clear()
    try:
        with pytest.raises(DependencyError, match=r"egl: no egl here; osmesa: no osmesa here. Wanted EGL or OSMesa"):
            render.find_backend()
        monkeypatch.setenv("MUJOCO_GL", "osmesa")
        with pytest.raises(DependencyError, match=r"works here: osmesa: no osmesa here"):
            render.find_backend()
    finally:
        render.find_backend.cache_clear()


def test_what_shows_nothing_is_refused(tmp_path: Path) -> None:
    with Filming(Media(tmp_path)) as film, pytest.raises(DataError, match="neither poses nor pictures"):
        film(segment("CartPole-v1", None))


def test_a_full_disk_leaves_no_clip(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with Filming(Media(tmp_path)) as film, pytest.raises(OutOfSpace):
            film(segment("Hopper-v5", np.zeros((61, 6))))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_drawing_poses_needs_neither_torch_nor_mujoco() -> None:
    code = (
        "import sys, backflip.control.planar, backflip.control.drawing; print({'torch', 'mujoco'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
