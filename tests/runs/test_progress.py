"""A bar where someone looks, plain lines where nobody does."""

from __future__ import annotations

import io

from rich.console import Console

from backflip.runs.progress import progress


def test_plain_lines_at_intervals_and_at_the_end() -> None:
    out, now = io.StringIO(), [0.0]
    with progress(5, "PPO [x]", console=Console(file=out), seconds_between_lines=10, clock=lambda: now[0]) as step:
        for _ in range(5):
            now[0] += 4.0
            step(note=f"score {now[0]:.0f}")
    # Steps end at 4, 8, 12, 16, 20 s: 12 is the first past 10 s, and the last one is always said.
    assert out.getvalue() == "PPO [x]: 3/5, 12 s, score 12\nPPO [x]: 5/5, 20 s, score 20\n"


def test_a_resumed_loop_starts_where_it_was() -> None:
    out = io.StringIO()
    with progress(10, "SFT", done=8, console=Console(file=out), clock=lambda: 0.0) as step:
        step(2)
    assert out.getvalue() == "SFT: 10/10, 0 s\n"


def test_a_terminal_gets_a_bar() -> None:
    out = io.StringIO()
    with progress(4, "SFT", done=1, console=Console(file=out, force_terminal=True, width=100)) as step:
        step(2, note="[loss] 1.5")
        step()
    assert "SFT" in out.getvalue()
    assert "4/4" in out.getvalue()
    assert "[loss] 1.5" in out.getvalue()
