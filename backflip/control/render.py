"""MuJoCo poses drawn off-screen, lean, and pictures encoded as a film: for what cannot be drawn as a planar robot.

Shadows, reflections and multisampling are off: a person who compares two clips does not miss them, and without a
graphics card they cost nearly all of the time. EGL is tried first, then OSMesa; `MUJOCO_GL` chooses by hand.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from backflip.errors import DataError, DependencyError, OutOfSpace

__all__ = ["Renderer", "encode", "find_backend"]

Picture = NDArray[np.uint8]  # (height, width, 3)

_BACKENDS: Final = ("egl", "osmesa")
_PROBE: Final = "import sys; from mujoco.{} import GLContext; c = GLContext(8, 8); c.make_current(); c.free()"
_NO_BACKEND: Final = (
    "no off-screen renderer works here: {}. Wanted EGL or OSMesa: install one (on Debian: apt-get install libegl1, or "
    "libosmesa6), or compare clips of a planar robot (Hopper, Walker2d, HalfCheetah, ..), which need none"
)
_VIEWS: Final = {"Reacher": {"trackbodyid": -1, "distance": 0.75, "elevation": -90.0, "lookat": (0.0, 0.0, 0.0)}}
_FACETS: Final = 16, 10, 2  # slices and stacks of what is round, quads of what is flat: 28, 16, 4 look no better
_CODECS: Final = {
    "mp4": ("-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-movflags", "+faststart"),
    "webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "6", "-crf", "34", "-b:v", "0"),
}


@functools.cache
def find_backend() -> str:
    """ "egl" or "osmesa", whichever works here; tried in a process of its own, for one that failed cannot be undone.

    Raises DependencyError that names both failures.
    """
    chosen = os.environ.get("MUJOCO_GL", "").strip().lower()
    failures = {}
    for backend in (chosen,) if chosen in _BACKENDS else _BACKENDS:
        environment = {**os.environ, "PYOPENGL_PLATFORM": backend, "MUJOCO_GL": backend}
        command = [sys.executable, "-W", "ignore", "-c", _PROBE.format(backend)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return backend
        failures[backend] = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    raise DependencyError(_NO_BACKEND.format("; ".join(f"{name}: {why}" for name, why in failures.items())))


class Renderer:
    """Draws poses (qpos) of one MuJoCo environment; to be closed, for its OpenGL context is this process's own.

    Raises DependencyError where no renderer works, DataError where the environment is not MuJoCo's.
    """

    def __init__(self, env: str, *, width: int = 320, height: int = 320) -> None:
        self._gl = _context(width, height)
        import gymnasium
        import mujoco  # type: ignore[import-untyped]

        unwrapped: Any = gymnasium.make(env).unwrapped
        if not hasattr(unwrapped, "model"):
            self._gl.free()
            raise DataError(f"{env} is not a MuJoCo environment; wanted one whose poses can be drawn")
        self.dt = float(unwrapped.dt)
        self._model, self._data, self._mujoco = unwrapped.model, unwrapped.data, mujoco
        self._camera = self._look(env, getattr(unwrapped, "mujoco_renderer", None))
        _make_lean(self._model, width, height)
        self._scene = mujoco.MjvScene(self._model, maxgeom=1000)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = 0
        self._target = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._target)
        self._options, self._force = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._window = mujoco.MjrRect(0, 0, width, height)
        self._picture = np.zeros((height, width, 3), dtype=np.uint8)

    def _look(self, env: str, renderer: Any) -> Any:
        """The camera of the environment's own pictures: one named "track", or a free one set as it asks."""
        mujoco, model = self._mujoco, self._model
        camera = mujoco.MjvCamera()
        mujoco.mjv_defaultFreeCamera(model, camera)
        track = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, "track")
        asked = getattr(renderer, "default_cam_config", None)
        wanted = dict(_VIEWS.get(env.rpartition("-v")[0]) or asked or {})
        if track >= 0 and "trackbodyid" not in wanted:
            camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, track
        elif wanted.get("trackbodyid", -1) > 0:
            camera.type = mujoco.mjtCamera.mjCAMERA_TRACKING
        for name, value in wanted.items():
            if name == "lookat":
                camera.lookat[:] = value
            else:
                setattr(camera, name, value)
        return camera

    def draw(self, pose: NDArray[np.float64]) -> Picture:
        """One pose."""
        if pose.shape != self._data.qpos.shape or not np.isfinite(pose).all():
            raise DataError(f"a pose has shape {pose.shape}; wanted {self._data.qpos.shape} finite numbers")
        mujoco, model, data = self._mujoco, self._model, self._data
        data.qpos[:] = pose
        for step in (mujoco.mj_kinematics, mujoco.mj_comPos, mujoco.mj_camlight):
            step(model, data)
        every = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(model, data, self._options, self._force, self._camera, every, self._scene)
        mujoco.mjr_render(self._window, self._scene, self._target)
        mujoco.mjr_readPixels(self._picture, None, self._window, self._target)
        return self._picture[::-1].copy()

    def close(self) -> None:
        """Frees the OpenGL context."""
        self._target.free()
        self._gl.free()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _context(width: int, height: int) -> Any:
    backend = find_backend()
    os.environ.setdefault("PYOPENGL_PLATFORM", backend)
    try:
        if backend == "egl":
            from mujoco.egl import GLContext  # type: ignore[import-untyped]
        else:
            from mujoco.osmesa import GLContext  # type: ignore[import-untyped]
    except ImportError as error:
        raise DependencyError(
            f"drawing needs mujoco and PyOpenGL ({error}): pip install 'backflip[control]'"
        ) from error
    context = GLContext(width, height)
    context.make_current()
    return context


def _make_lean(model: Any, width: int, height: int) -> None:
    model.vis.quality.offsamples, model.vis.quality.shadowsize = 0, 0
    model.vis.quality.numslices, model.vis.quality.numstacks, model.vis.quality.numquads = _FACETS
    model.vis.global_.offwidth, model.vis.global_.offheight = width, height


def encode(pictures: Iterable[Picture], *, fps: float, kind: str = "mp4") -> bytes:
    """A film of pictures of one even size, as mp4 (H.264) or webm (VP9); equal pictures give equal bytes.

    They are encoded as they come, so that a picture is drawn while the one before it is encoded. Raises DependencyError
    without imageio-ffmpeg, OutOfSpace when the disk for temporary files is full.
    """
    try:
        from imageio_ffmpeg import get_ffmpeg_exe  # type: ignore[import-untyped]
    except ImportError as error:
        raise DependencyError("films need imageio-ffmpeg: pip install 'backflip[control]'") from error
    rest = iter(pictures)
    first = next(rest)
    height, width = first.shape[:2]
    if height % 2 or width % 2 or kind not in _CODECS:
        raise DataError(f"a film of {width} x {height} as {kind!r}; wanted even sides, as mp4 or webm")
    with tempfile.TemporaryDirectory() as folder:
        path, said = Path(folder, f"film.{kind}"), Path(folder, "said.txt")  # mp4 is written back and forth: no pipe
        given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps:.6g}", "-i", "-"]
        exact = ["-an", "-pix_fmt", "yuv420p", "-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact"]
        command = [get_ffmpeg_exe(), "-v", "error", "-y", *given, *exact, *_CODECS[kind], str(path)]
        with said.open("wb") as errors:
            code = _fed(command, chain([first], rest), errors)
        if code:
            words = (said.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
            if "No space left" in words:
                raise OutOfSpace(f"no space is left in {folder} to encode a clip; free some and go on")
            raise DependencyError(f"ffmpeg could not encode a clip; it said: {words}")
        return path.read_bytes()


def _fed(command: Sequence[str], pictures: Iterable[Picture], errors: IO[bytes]) -> int:
    """Runs a program that reads the pictures; its exit code."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors) as process:
        assert process.stdin is not None
        try:
            for picture in pictures:
                process.stdin.write(np.ascontiguousarray(picture).tobytes())
            process.stdin.close()
        except BrokenPipeError:  # it has ended, and said why
            pass
        except BaseException:
            process.kill()
            raise
        return process.wait()
