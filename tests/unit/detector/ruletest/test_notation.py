"""Series and times: what promtool means by them, and every slip with its place."""

from __future__ import annotations

import pytest

from detector.ruletest.notation import (
    INTERVALS_MAX,
    NotationError,
    parse_series,
    parse_time,
    shown_time,
)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1+1x3", (1, 2, 3, 4)),
        ("10-5x2", (10, 5, 0)),
        ("7x2", (7, 7, 7)),
        ("7x0 8", (7, 8)),
        ("_ 1 _x2", (None, 1, None, None)),
        (" 0.5x1\n 2 ", (0.5, 0.5, 2)),
    ],
)
def test_series_as_promtool_reads_them(text: str, values: tuple[object, ...]) -> None:
    """``axn`` is a and n more; ``_xn`` is n times nothing."""
    assert parse_series(text) == values


@pytest.mark.parametrize(
    ("text", "offset", "width", "said"),
    [
        ("1 2y3", 2, 3, "is no part"),
        ("1 5-2x3", 2, 5, "falls to -1"),
        ("1+2", 0, 3, "how often"),
        ("_x0", 0, 3, "no times"),
        ("", 0, 1, "empty"),
        (f"_x{INTERVALS_MAX} 1x999999999", 9, 11, "more than"),
        ("1x3 2e9", 4, 3, "is no part"),
        ("9999999999", 0, 10, "more than"),
    ],
)
def test_slips_have_a_place(text: str, offset: int, width: int, said: str) -> None:
    """The offending part is marked, not the whole series."""
    with pytest.raises(NotationError) as caught:
        parse_series(text)
    found = caught.value
    assert (found.offset, found.width) == (offset, width)
    assert said in found.message
    assert found.hint


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("1d2h3m4s", 93_784)])
def test_times_there_and_back(text: str, seconds: int) -> None:
    """Times are written as they are read."""
    assert parse_time(text) == seconds
    assert parse_time(shown_time(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "5m1h", "-5m", "1.5h"])
def test_no_times(text: str) -> None:
    """A number without a unit is no time: minutes or seconds?"""
    assert parse_time(text) is None
