"""Freeze windows: when they hold, across clock changes, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from acting.answers import Answer, Why
from acting.calendars import Window, frozen_until
from acting.records import Calendar, Damaged, decode, encode
from tests.unit.acting.test_ledger import NOW, Story, wish

BERLIN = "Europe/Berlin"


def window(**changes: Any) -> Window:
    """Nights of Berlin from 22:00 on, for eleven hours."""
    known = {
        "name": "night",
        "rrule": "FREQ=DAILY",
        "start": "2026-01-01T22:00",
        "duration": "PT11H",
        "timezone": BERLIN,
    }
    return Window(**(known | changes))


def ms(text: str) -> int:
    """Epoch milliseconds of a time with its zone."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def until(found: Window, at: str) -> str | None:
    """When the window ends that holds a time."""
    end_ms = frozen_until(found, ms(at))
    if end_ms is None:
        return None
    return f"{datetime.fromtimestamp(end_ms / 1000, UTC):%Y-%m-%dT%H:%MZ}"


def test_window_is_half_open() -> None:
    """It holds from its start, and not at its end any more."""
    night = window()
    assert until(night, "2026-07-01T19:59:59Z") is None
    assert until(night, "2026-07-01T20:00:00Z") == "2026-07-02T07:00Z"
    assert until(night, "2026-07-02T06:59:59Z") == "2026-07-02T07:00Z"
    assert until(night, "2026-07-02T07:00:00Z") is None


@pytest.mark.parametrize(
    ("at", "end"),
    [
        ("2026-03-28T22:00Z", "2026-03-29T08:00Z"),  # an hour is skipped, hours count
        ("2026-10-24T21:00Z", "2026-10-25T07:00Z"),  # an hour comes twice
        ("2026-03-27T21:30Z", "2026-03-28T08:00Z"),
        ("2026-03-29T20:30Z", "2026-03-30T07:00Z"),
    ],
)
def test_hours_are_hours_at_clock_changes(at: str, end: str) -> None:
    """Eleven hours are eleven in the nights in which the clocks change, too."""
    assert until(window(), at) == end


@pytest.mark.parametrize(
    ("day", "end"),
    [("2026-03-28", "2026-03-30T06:00Z"), ("2026-10-24", "2026-10-26T07:00Z")],
)
def test_days_end_by_the_local_clock(day: str, end: str) -> None:
    """From Friday 16:00 for two days and 16 hours ends on Monday at 8:00, whatever the
    clocks do in between."""
    weekend = window(
        rrule="FREQ=WEEKLY;BYDAY=FR", start="2026-01-02T16:00", duration="P2DT16H"
    )
    assert until(weekend, f"{day}T12:00Z") == end


@pytest.mark.parametrize(
    ("start", "begun", "before"),
    [
        # 02:30 does not exist on that day: an hour later by the clock.
        ("2026-03-29T02:30", "2026-03-29T01:30Z", "2026-03-29T01:29Z"),
        # 02:30 comes twice: the first one.
        ("2026-10-25T02:30", "2026-10-25T00:30Z", "2026-10-25T00:29Z"),
    ],
)
def test_odd_starts_are_those_of_rfc_5545(start: str, begun: str, before: str) -> None:
    """A start that is skipped, or comes twice, is where RFC 5545 puts it."""
    odd = window(start=start, duration="PT1H")
    assert until(odd, begun) is not None
    assert until(odd, before) is None


@pytest.mark.parametrize(
    ("rrule", "start", "holds", "free"),
    [
        ("FREQ=YEARLY", "2020-12-31T00:00", "2026-12-31", "2026-12-30"),
        ("FREQ=MONTHLY;BYMONTHDAY=-1", "2026-01-31T00:00", "2028-02-29", "2028-02-28"),
        ("FREQ=MONTHLY;BYDAY=2TU", "2026-01-13T00:00", "2026-07-14", "2026-07-07"),
        ("FREQ=WEEKLY;INTERVAL=2", "2026-01-01T00:00", "2026-01-15", "2026-01-08"),
        ("FREQ=DAILY;COUNT=3", "2026-01-01T00:00", "2026-01-03", "2026-01-04"),
        ("FREQ=DAILY;UNTIL=20260103", "2026-01-01T00:00", "2026-01-03", "2026-01-04"),
        ("FREQ=YEARLY;BYMONTH=11,12", "2026-11-27T00:00", "2027-12-27", "2027-10-27"),
    ],
)
def test_rules_come_when_they_say(
    rrule: str, start: str, holds: str, free: str
) -> None:
    """Parts of RFC 5545 mean what it says."""
    found = window(rrule=rrule, start=start, duration="PT12H", timezone="UTC")
    assert until(found, f"{holds}T06:00Z") == f"{holds}T12:00Z"
    assert until(found, f"{free}T06:00Z") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"rrule": "FREQ=HOURLY"},
        {"rrule": "FREQ=DAILY;INTERVAL=0"},
        {"rrule": "FREQ=DAILY;BYHOUR=1"},
        {"rrule": "BYDAY=MO"},
        {"rrule": "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30"},
        {"rrule": "FREQ=DAILY;BYSETPOS=5"},
        {"rrule": "FREQ=WEEKLY;BYDAY=1MO"},
        {"rrule": "FREQ=DAILY\\nRRULE:FREQ=DAILY"},
        {"rrule": "FREQ=DAILY;UNTIL=20250101"},
        {"rrule": "FREQ=DAILY;UNTIL=20261301"},
        {"start": "2026-01-01T22:00Z"},
        {"start": "1970-01-01T22:00"},
        {"start": "soon"},
        {"duration": "P"},
        {"duration": "PT0H"},
        {"duration": "P93D"},
        {"duration": "11h"},
        {"timezone": "Mars/Olympus"},
        {"timezone": "../../etc/passwd"},
        {"timezone": "Europe"},
    ],
)
def test_odd_windows_are_refused(changes: dict[str, str]) -> None:
    """What readers could not follow, or only with great effort, is refused."""
    with pytest.raises(ValueError, match="window night: "):
        window(**changes)
    fields = msgspec.to_builtins(window()) | changes
    said = {"type": "calendar", "actor": "ada", "why": "", "windows": [fields]}
    with pytest.raises(Damaged):
        decode(msgspec.json.encode(said))


def test_calendar_holds_until_it_is_replaced() -> None:
    """A claim inside a window hears 22 and when it ends; another service's calendar
    holds nobody; a later calendar replaces the one before."""
    story = Story()
    at = f"{datetime.fromtimestamp(NOW / 1000, UTC):%Y-%m-%d}T00:00"
    today = window(start=at, duration="P1D", timezone="UTC")
    story.tell(Calendar("ada", "season", "pay", (today,)))
    story.tell(Calendar("ada", "season", "*", (today,)))
    found = story.ask(wish())
    assert (found.answer, found.why) == (Answer.FROZEN, Why.CALENDAR)
    assert found.text.startswith("night, in the calendar of ada, lasts until 2026-11-")
    story.tell(Calendar("ada", "over"))
    assert story.ask(wish()).answer is Answer.ACT


def test_holding_agrees_with_its_end(rng: np.random.Generator) -> None:
    """Just before the end that is told the window holds, and at it it does not."""
    night = window(rrule="FREQ=WEEKLY;BYDAY=FR,SA", start="2026-01-02T22:00")
    start = ms("2026-01-01T00:00Z")
    held = 0
    for at_ms in start + rng.integers(0, 365 * 86_400_000, 500):
        end_ms = frozen_until(night, int(at_ms))
        if end_ms is not None:
            held += 1
            assert at_ms < end_ms <= at_ms + 12 * 3_600_000
            assert frozen_until(night, end_ms - 1) == end_ms
            assert frozen_until(night, end_ms) is None
    assert held > 0  # 22 of 168 hours: none of 500 has odds below 1e-30


def test_calendar_survives_its_bytes() -> None:
    """A record is read as it was written."""
    made = Calendar("ada", "season", "shop", (window(),))
    assert decode(encode(made)) == made
