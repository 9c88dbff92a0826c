"""When a record counts: grid, widths and clocks that are off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.arrival import SENDER_SKEW_MAX_MS, grid_end_ms, skew_ms, wider_ms
from detector.events import Usage

WIDTHS = st.integers(1, 3_600_000)
TIMES = st.integers(-10, 32_503_680_000_000)


@given(TIMES, WIDTHS)
def test_grid_window_holds_last_millisecond(end_ms: int, width_ms: int) -> None:
    """The window is on the grid, half-open, and contains the end minus 1 ms."""
    found = grid_end_ms(end_ms, width_ms)
    assert found % width_ms == 0
    assert found - width_ms <= end_ms - 1 < found


def test_window_end_belongs_to_it() -> None:
    """A record that ends exactly where a window ends belongs to that window."""
    assert grid_end_ms(10_000, 10_000) == 10_000
    assert grid_end_ms(10_001, 10_000) == 20_000


@given(WIDTHS, st.lists(st.integers(0, 3_600_000), max_size=6))
def test_widths_stay_nested(width_ms: int, needs_ms: list[int]) -> None:
    """Every wider width is a multiple of all before it and covers what it must."""
    for need_ms in needs_ms:
        wider = wider_ms(width_ms, need_ms)
        assert wider % width_ms == 0
        assert wider >= max(width_ms, need_ms)
        assert wider < max(width_ms, need_ms) + width_ms
        width_ms = wider


@pytest.mark.parametrize(
    ("sent_at", "received_at", "shift_ms"),
    [
        (None, 500_000, 0),
        (500_000, 500_000 + SENDER_SKEW_MAX_MS, 0),
        (500_000, 500_001 + SENDER_SKEW_MAX_MS, 1 + SENDER_SKEW_MAX_MS),
        (900_000, 500_000, -400_000),
        (900_000, None, 100_000),
    ],
)
def test_only_wrong_clocks_are_corrected(
    sent_at: int | None, received_at: int | None, shift_ms: int
) -> None:
    """A sender is shifted when it is off by more than a minute, else left alone."""
    event = Usage(
        ts=0, service="s", release="1", sent_at=sent_at, received_at=received_at
    )
    assert skew_ms(event, arrival_ms=1_000_000) == shift_ms
