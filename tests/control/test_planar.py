"""Planar robots drawn: true to MuJoCo, the same in the browser as in Python, and a flip looks like one."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backflip.control import figures as exporter
from backflip.control.drawing import draw, gif, pixels
from backflip.control.planar import DARK, LIGHT, Band, Dot, Line, Scene, figures, limb_ends
from backflip.errors import DataError

JS = Path(exporter.__file__).parents[1] / "studio" / "static" / "js"


def flip(steps: int = 61) -> np.ndarray:
    """A Hopper that jumps, turns backwards once, tucked, and lands where it began."""
    time = np.linspace(0, 1, steps)
    qpos = np.zeros((steps, 6))
    qpos[:, 0], qpos[:, 1], qpos[:, 2] = -time, 1.25 + 0.6 * np.sin(np.pi * time), -2 * np.pi * time
    qpos[:, 3] = qpos[:, 4] = -0.7 * np.sin(np.pi * time)
    return qpos


def wild(name: str, moments: int = 5) -> np.ndarray:
    return np.random.default_rng(len(name)).normal(0.4, 0.7, (moments, figures()[name].coordinates))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("log"))  # MuJoCo writes its log where it stands
        yield exporter.export()


def test_the_committed_geometry_is_that_of_the_models(exported: dict[str, Any]) -> None:
    committed = json.loads((Path(exporter.__file__).parent / "figures.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(exported)) == committed
    module = (JS / "figures.js").read_text(encoding="utf-8")
    assert json.loads(module.split("FIGURES =")[1].strip().rstrip(";")) == committed


@pytest.mark.parametrize("name", sorted(figures()))
def test_limbs_are_where_mujoco_has_them(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gymnasium
    import mujoco

    monkeypatch.chdir(tmp_path)
    figure = figures()[name]
    env: Any = gymnasium.make(figure.env).unwrapped
    up = 1 if name == "swimmer" else 2
    for qpos in wild(name):
        env.data.qpos[:] = qpos
        mujoco.mj_kinematics(env.model, env.data)
        middles = {
            tuple(np.round(env.data.geom_xpos[g][[0, up]], 5))
            for g in range(env.model.ngeom)
            if env.model.geom_type[g] == mujoco.mjtGeom.mjGEOM_CAPSULE
        }
        ends = limb_ends(figure, qpos[None])[0]
        drawn = {tuple(np.round(pair.mean(axis=0), 5)) for pair in ends}
        assert np.abs(np.array(sorted(middles)) - np.array(sorted(drawn))).max() < 1e-4
    env.close()


def test_a_flip_looks_upside_down_halfway() -> None:
    """Where the foot's orange and the torso's blue are: foot below at the start and end, above in the middle."""
    scene = Scene("hopper", flip())
    heights = []
    for frame in (0, 30, 60):
        picture = pixels(scene, frame, width=240, height=240).astype(int)
        foot = np.argwhere(np.abs(picture - [0xF0, 0x88, 0x3E]).sum(axis=-1) < 30)[:, 0].mean()
        torso = np.argwhere(np.abs(picture - [0x2F, 0x6F, 0xDE]).sum(axis=-1) < 30)[:, 0].mean()
        heights.append(foot - torso)  # rows count downwards
    assert heights[0] > 50
    assert heights[1] < -5
    assert heights[2] == pytest.approx(heights[0], abs=2)


def test_drawing_is_determined_and_follows_the_robot() -> None:
    scene, moved = Scene("hopper", flip()), flip()
    moved[:, 0] += 3
    assert (pixels(scene, 7) == pixels(Scene("hopper", flip()), 7)).all()
    # whole metres further on, the robot stands in the same place of the picture, and so do posts and tiles
    assert (pixels(scene, 7) == pixels(Scene("hopper", moved), 7)).all()
    moved[:, 0] += 0.5
    assert (pixels(scene, 7) != pixels(Scene("hopper", moved), 7)).any()
    assert (pixels(scene, 7, palette=DARK) != pixels(scene, 7)).mean() > 0.9


def test_a_high_jump_stays_in_the_picture() -> None:
    qpos = flip()
    qpos[30, 1] = 4.0
    head = [s for s in Scene("hopper", qpos).shapes(30, 200, 200) if isinstance(s, Line)]
    assert min(min(line.y0, line.y1) for line in head) > 0


def test_a_gif_keeps_to_the_clock() -> None:
    scene = Scene("hopper", flip(7))
    data = gif((draw(scene, i, width=60, height=60, finer=1) for i in range(7)), fps=30)
    with Image.open(BytesIO(data)) as picture:
        durations = []
        for i in range(getattr(picture, "n_frames", 1)):
            picture.seek(i)
            durations.append(picture.info["duration"])
    assert len(durations) == 7
    assert sum(durations) == pytest.approx(7 / 30 * 1000, abs=10)


@pytest.mark.parametrize(
    ("name", "qpos", "message"),
    [
        ("ant", [[0.0] * 6], "robot is 'ant'; wanted one of half_cheetah, hopper"),
        ("hopper", [[0.0] * 5], r"qpos has shape \(1, 5\); wanted \(moments, 6\)"),
        ("hopper", [], "qpos has shape"),
        ("hopper", [[float("nan")] * 6], "holds NaN"),
    ],
)
def test_what_cannot_be_drawn_is_named(name: str, qpos: list[list[float]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Scene(name, qpos)


PAGE = """
import { LIGHT, Scene, drawPlanar } from "./planar.js";
window.shapes = (name, qpos, frame, width, height) => new Scene(name, qpos).shapes(frame, width, height, LIGHT);
window.picture = (clip, frame, ink) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [240, 240];
  canvas.style.color = ink;
  document.body.append(canvas);
  drawPlanar(canvas, clip, frame);
  return canvas.toDataURL().split(",")[1];
};
window.ready = true;
"""


@pytest.fixture(scope="module")
def page(chromium: Any) -> Iterator[Any]:
    """A page of nothing but the drawing module, in a real browser."""
    served = {"/": b"<!doctype html><body><script type=module src=page.js></script>", "/page.js": PAGE.encode()}
    served |= {f"/{name}": (JS / name).read_bytes() for name in ("planar.js", "figures.js")}

    def answer(route: Any, request: Any) -> None:
        path = "/" + request.url.split("/", 3)[3]
        kind = "text/javascript" if path.endswith(".js") else "text/html"
        route.fulfill(body=served.get(path, b""), content_type=kind)

    opened = chromium.new_page()
    opened.route("**/*", answer)
    opened.goto("http://drawing.test/")
    opened.wait_for_function("window.ready")
    yield opened
    opened.close()


def decoded(png: str) -> np.ndarray:
    with Image.open(BytesIO(base64.b64decode(png))) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def as_lists(scene: Scene, frame: int, width: int, height: int) -> list[list[Any]]:
    kinds = {Band: "band", Line: "line", Dot: "dot"}
    return [[kinds[type(shape)], *shape] for shape in scene.shapes(frame, width, height, LIGHT)]


def test_the_browser_makes_the_same_shapes(page: Any) -> None:
    for name in figures():
        qpos = wild(name, 30).cumsum(axis=0) / 20
        for frame in (0, 3, 29):
            there = page.evaluate("a => window.shapes(...a)", [name, qpos.tolist(), frame, 320, 200])
            here = as_lists(Scene(name, qpos), frame, 320, 200)
            assert [[s[0], s[-1]] for s in there] == [[s[0], s[-1]] for s in here]
            flat = [np.array([x for s in shapes for x in s[1:-1]]) for shapes in (there, here)]
            assert np.abs(flat[0] - flat[1]).max() < 1e-6


@pytest.mark.parametrize(("ink", "palette"), [("rgb(10, 10, 10)", LIGHT), ("rgb(240, 240, 240)", DARK)])
def test_the_browser_paints_the_same_picture(page: Any, ink: str, palette: Any) -> None:
    clip = {"format": "planar", "robot": "hopper", "dt": 0.008, "fps": 40, "qpos": flip().tolist()}
    for frame in (0, 30):
        painted = decoded(page.evaluate("a => window.picture(...a)", [clip, frame, ink]))
        drawn = pixels(Scene("hopper", flip()), frame, width=240, height=240, palette=palette).astype(int)
        differ = np.abs(painted - drawn).max(axis=-1)
        assert (differ > 60).mean() < 0.008  # edges of lines are smoothed in two ways
        assert differ.mean() < 1.5
