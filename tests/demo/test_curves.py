"""Sparklines, by hand."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from backflip.demo.curves import curves, series, sparkline


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], ""),
        ([3.0], "▁"),
        ([2.0, 2.0, 2.0], "▁▁▁"),
        (
            [0, 1, 2, 3, 4, 5, 6, 7, 8],
            "▁▂▃▄▅▆▇██",
        ),  # eight blocks from 0 to 8: each is 1 high, and 8 itself is the last
        ([8.0, 0.0, 4.0], "█▁▅"),
    ],
)
def test_blocks(values: list[float], drawn: str) -> None:
    assert sparkline(values) == drawn


def test_many_values_are_averaged_in_equal_parts() -> None:
    # parts (0, 2), (4, 4), (8, 8) have means 1, 4, 8: 1 + 7/8 k <= 4 for k = 3, so the middle is block 3 of 0..7
    assert sparkline([0, 2, 4, 4, 8, 8], width=3) == "▁▄█"


@given(st.lists(st.floats(-1e6, 1e6), max_size=100), st.integers(1, 40))
def test_never_wider_than_asked(values: list[float], width: int) -> None:
    assert len(sparkline(values, width)) == min(len(values), width)


def test_a_metric_that_is_missing_or_null_has_no_point() -> None:
    lines = [{"step": 1, "judge/score": None}, {"step": 2, "judge/score": 0.5}, {"step": 3}]
    assert series(lines, "judge/score") == [(2, 0.5)]


def test_a_line_a_curve_that_there_is() -> None:
    screen = Console(file=io.StringIO(), width=80)
    screen.print(curves([{"step": 1, "objective/kl": 0.0}, {"step": 2, "objective/kl": 2.5}], "PPO"))
    assert isinstance(screen.file, io.StringIO)
    lines = [line.strip() for line in screen.file.getvalue().splitlines()]
    assert lines == ["PPO", "KL to SFT, nats a text  ▁█  0.00 → 2.50"]
