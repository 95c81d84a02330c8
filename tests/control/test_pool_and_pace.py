"""What lies between the processes: a queue that drops old clips, and how many questions may wait."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from backflip.control.pace import Pace, Waiting
from backflip.control.pool import Pack, Pool
from backflip.control.segments import Segment


def pack(rollout: int, *, states: bool = True, sealed: bool = False) -> Pack:
    clips = []
    for i in range(3):
        poses = np.full((5, 6), float(rollout)) if states else None
        segment = Segment("Hopper-v5", np.full((4, 11), i, np.float32), np.zeros((4, 3), np.float32), poses)
        clips.append((segment, np.arange(4.0) if sealed else None))
    return Pack(rollout, rollout * 100, clips)


def test_the_pool_drops_the_oldest(tmp_path: Path) -> None:
    pool = Pool(tmp_path / "pool", keep=3)
    assert (pool.latest(), pool.newest()) == ((0, 0), [])
    for rollout in range(1, 8):
        pool.leave(pack(rollout))
    assert pool.latest() == (7, 700)
    assert [p.rollout for p in pool.newest(count=99)] == [5, 6, 7]
    assert [p.rollout for p in pool.newest(count=99, after=6)] == [7]
    assert len(list((tmp_path / "pool").iterdir())) == 3


def test_clips_come_back_as_they_were_left(tmp_path: Path) -> None:
    for states, sealed in ((True, False), (False, False), (True, True)):
        pool = Pool(tmp_path / f"{states}-{sealed}")
        left = pack(1, states=states, sealed=sealed)
        pool.leave(left)
        (taken,) = pool.newest()
        assert [s.id for s, _ in taken.clips] == [s.id for s, _ in left.clips]
        assert [r is not None for _, r in taken.clips] == [sealed] * 3


def test_a_pack_that_is_dropped_meanwhile_is_left_out(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    for rollout in (1, 2):
        pool.leave(pack(rollout))
    listed = pool._listed()
    listed[0][2].unlink()
    pool._listed = lambda: listed  # type: ignore[method-assign]  the look was a moment before
    assert [p.rollout for p in pool.newest(count=2)] == [2]


def test_no_more_is_asked_than_people_answer() -> None:
    pace = Pace(least=8)
    assert pace.room(due=75, asked=0, waiting=0, now=0.0) == 8
    assert pace.room(due=75, asked=8, waiting=8, now=1.0) == 0  # nobody answered yet
    pace.heard(30, 10.0)
    assert pace.a_minute(11.0) == 30
    assert pace.room(due=75, asked=38, waiting=8, now=11.0) == 15 - 8  # half a minute's work may wait
    assert pace.room(due=40, asked=38, waiting=8, now=11.0) == 2  # and never more than is due
    assert pace.room(due=30, asked=38, waiting=0, now=11.0) == 0
    assert pace.room(due=75, asked=38, waiting=0, now=80.0) == 8  # they went away


def test_a_question_expires_by_steps_and_by_time() -> None:
    waiting = Waiting(steps=1000, seconds=60)
    waiting.add(["a", "b"], steps=0, now=0.0)
    waiting.add(["c"], steps=5000, now=50.0)
    waiting.answered(["b", "unknown"])
    assert waiting.expire(steps=900, now=100.0) == []  # the policy is still the one that was asked about
    assert waiting.expire(steps=6500, now=59.0) == []  # nobody is hurried
    assert waiting.expire(steps=6500, now=61.0) == ["a"]
    assert len(waiting) == 1
    assert waiting.expire(steps=6500, now=111.0) == ["c"]
