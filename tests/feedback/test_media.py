"""Media by content: whole or not at all, kept once, and never a way out of the folder."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from backflip.errors import DataError, FeedbackError, OutOfSpace
from backflip.feedback.media import Media, content_key, is_key, media_beside, media_type


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_content_comes_back_by_its_key_and_is_kept_once(tmp_path: Path) -> None:
    media = Media(tmp_path / "media")
    key = media.put(b"moving pictures", "mp4")
    first = media.path(key).stat()
    assert media.put(b"moving pictures", "mp4") == key == content_key(b"moving pictures", "mp4")
    assert media.path(key).stat().st_ino == first.st_ino  # not written again
    assert media.read(key) == b"moving pictures"
    assert (key in media, list(media.keys()), media_type(key)) == (True, [key], "video/mp4")
    assert media.put(b"moving pictures", "webm") != key


def test_json_of_equal_values_has_one_key(tmp_path: Path) -> None:
    media = Media(tmp_path)
    key = media.put_json({"robot": "hopper", "qpos": [[0.0, 1.25]]})
    assert media.put_json({"qpos": [[0.0, 1.25]], "robot": "hopper"}) == key
    assert media.read_json(key) == {"robot": "hopper", "qpos": [[0.0, 1.25]]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        media.put_json(float("nan"))
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize(
    "key",
    ["", "x.mp4", "../" + "a" * 61 + ".mp4", "a" * 64, "A" * 64 + ".mp4", "a" * 64 + ".exe", "a" * 64 + ".mp4\n"],
)
def test_no_other_name_is_a_key(tmp_path: Path, key: str) -> None:
    media = Media(tmp_path)
    assert not is_key(key)
    assert key not in media
    for use in (media.path, media.read, media.drop, media_type):
        with pytest.raises(DataError, match="media key is"):
            use(key)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    media = Media(tmp_path / "none")
    assert list(media.keys()) == []
    with pytest.raises(FeedbackError, match=r"is not in .*none; give the media folder"):
        media.read(content_key(b"", "json"))
    media.drop(content_key(b"", "json"))
    with pytest.raises(DataError, match="media kind is 'gif'"):
        media.put(b"", "gif")


def test_a_damaged_file_is_not_read(tmp_path: Path) -> None:
    media = Media(tmp_path)
    key = media.put(b"whole", "mp4")
    media.path(key).write_bytes(b"whol")
    with pytest.raises(DataError, match="is damaged"):
        media.read(key)
    media.drop(key)
    assert key not in media


def test_many_threads_put_the_same(tmp_path: Path) -> None:
    media, keys = Media(tmp_path), []
    threads = [threading.Thread(target=lambda: keys.append(media.put(b"x" * 100_000, "webm"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 1
    assert files(tmp_path) == keys[:1]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # Python ignores the signal, so a write fails
    try:
        with pytest.raises(OutOfSpace, match="nothing half-written was left there"):
            Media(tmp_path / "media").put(b"x" * 5000, "mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(tmp_path) == []
    assert Media(tmp_path / "media").read(Media(tmp_path / "media").put(b"x" * 5000, "mp4")) == b"x" * 5000


def test_the_folder_lies_beside_the_store() -> None:
    assert media_beside("runs/feedback.db") == media_beside("sqlite:///runs/feedback.db") == Path("runs/feedback.media")
    with pytest.raises(FeedbackError, match="name a folder"):
        media_beside("postgresql://db/feedback")


def test_torch_is_not_needed() -> None:
    code = "import sys, backflip.feedback.media; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
