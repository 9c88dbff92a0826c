"""Freeze windows that come back: when nothing is done, by a rule of RFC 5545.

A window is said in local time, so it moves with daylight saving time as people do: a
start that the clocks skip is that much later, one that comes twice is the first, days
of a duration are days of the calendar, and hours are hours. Zones are those of the
package ``tzdata``, not of the machine: readers of one log have to agree.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from itertools import takewhile
from typing import Annotated
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr
from msgspec import Meta, Struct

DAY = timedelta(days=1)
LENGTH_MAX = timedelta(days=92)
YEARS = (2000, 2200)
LENGTH = re.compile(
    r"P(?:(\d{1,3})W)?(?:(\d{1,3})D)?(?:T(?:(\d{1,4})H)?(?:(\d{1,5})M)?)?"
)
ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z][A-Za-z0-9_+-]*){0,2}")
RULES = {
    "FREQ": r"YEARLY|MONTHLY|WEEKLY|DAILY",
    "INTERVAL": r"[1-9]\d{0,2}",
    "COUNT": r"[1-9]\d{0,3}",
    "UNTIL": r"\d{8}(?:T\d{6})?",
    "BYDAY": r"(?:[+-]?[1-5])?(?:MO|TU|WE|TH|FR|SA|SU)",
    "BYMONTH": r"[1-9]|1[0-2]",
    "BYMONTHDAY": r"[+-]?(?:[1-9]|[12]\d|3[01])",
    "BYSETPOS": r"[+-]?[1-5]",
    "WKST": r"MO|SU",
}
"""Parts of a rule, and what each of their values may be: at most one start a day, and
nothing that is looked for until the end of time."""

SHORTEST = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

Line = Annotated[str, Meta(min_length=1, max_length=256)]


class Window(Struct, frozen=True, forbid_unknown_fields=True):
    """A time that comes back, in which nothing is executed.

    Attributes
    ----------
    name : str
        What people call it.
    rrule : str
        When it comes, as in RFC 5545: ``FREQ=WEEKLY;BYDAY=FR``. Not more often than
        daily; ``UNTIL`` is in local time.
    start : str
        Its first start in local time, ``2026-11-27T16:00``, from which on ``rrule``
        counts.
    duration : str
        ``P2DT16H``: days of the calendar, then hours and minutes; up to 92 days.
    timezone : str
        ``Europe/Berlin``, ``UTC``.
    """

    name: Line
    rrule: Line
    start: Line
    duration: Line
    timezone: Line

    def __post_init__(self) -> None:
        """Refuse what no reader could follow."""
        try:
            first = _first(self.start)
            _check_rule(self.rrule)
            _zone(self.timezone)
            if not timedelta() < sum(_length(self.duration), timedelta()) <= LENGTH_MAX:
                raise ValueError(f"a duration is more than 0 and up to {LENGTH_MAX}")
            if not _starts(self.rrule, self.start, first, first + 366 * DAY):
                raise ValueError("it does not come within a year from its start")
        except ValueError as error:
            raise ValueError(f"window {self.name}: {error}") from error


def frozen_until(window: Window, at_ms: int) -> int | None:
    """When the window that holds a time ends, in epoch milliseconds; None outside it.

    Examples
    --------
    >>> weekend = Window("weekend", "FREQ=WEEKLY;BYDAY=FR", "2026-11-27T16:00",
    ...                  "P2DT16H", "Europe/Berlin")
    >>> from datetime import datetime
    >>> saturday = int(datetime.fromisoformat("2026-11-28T12:00Z").timestamp()) * 1000
    >>> frozen_until(weekend, saturday) - saturday == (12 + 24 + 7) * 3_600_000
    True
    >>> frozen_until(weekend, saturday + 2 * 86_400_000) is None
    True
    """
    zone, at = _zone(window.timezone), datetime.fromtimestamp(at_ms / 1000, UTC)
    local = at.astimezone(zone).replace(tzinfo=None)
    days, rest = _length(window.duration)
    today = local.replace(hour=0, minute=0, second=0, microsecond=0)
    since, until = today - days - rest - 2 * DAY, today + 2 * DAY
    ends = []
    for start in _starts(window.rrule, window.start, since, until):
        begun = start.replace(tzinfo=zone).astimezone(UTC)
        over = (start + days).replace(tzinfo=zone).astimezone(UTC) + rest
        if begun <= at < over:
            ends.append(over)
    return int(max(ends).timestamp() * 1000) if ends else None


@lru_cache(maxsize=1_024)
def _starts(
    text: str, start: str, since: datetime, until: datetime
) -> tuple[datetime, ...]:
    """Local starts from one time to another; counted from the first one, so kept."""
    rule = rrulestr(text, dtstart=_first(start))
    found = rule.xafter(since, inc=True)
    return tuple(takewhile(lambda one: one <= until, found))


def _check_rule(text: str) -> None:
    parts = dict(part.partition("=")[::2] for part in text.split(";"))
    for name, value in parts.items():
        if name not in RULES:
            raise ValueError(f"{name} in `rrule`: one of {', '.join(RULES)}")
        for one in value.split(","):
            if not re.fullmatch(RULES[name], one):
                raise ValueError(f"{name}={one} in `rrule`: not understood here")
    if "FREQ" not in parts:
        raise ValueError("`rrule` needs FREQ")
    is_short = parts["FREQ"] in ("WEEKLY", "DAILY")
    if is_short and re.search(r"BYSETPOS|\d(?:MO|TU|WE|TH|FR|SA|SU)", text):
        raise ValueError("the first, or last, of something is of a month or a year")
    months = [int(m) for m in parts.get("BYMONTH", "").split(",") if m] or range(1, 13)
    days = [abs(int(d)) for d in parts.get("BYMONTHDAY", "1").split(",")]
    if min(days) > max(SHORTEST[month - 1] for month in months):
        raise ValueError("no such day in any of its months")


def _first(start: str) -> datetime:
    found = datetime.fromisoformat(start)
    if found.tzinfo is not None or not YEARS[0] <= found.year < YEARS[1]:
        raise ValueError(f"`start` is local time, without a zone, in a year of {YEARS}")
    return found


def _length(duration: str) -> tuple[timedelta, timedelta]:
    """Days of the calendar, and time that passes."""
    found = LENGTH.fullmatch(duration)
    if found is None:
        raise ValueError(f"`duration` {duration!r} is not like P2DT16H")
    weeks, days, hours, minutes = (int(part or 0) for part in found.groups())
    return timedelta(weeks=weeks, days=days), timedelta(hours=hours, minutes=minutes)


@lru_cache(maxsize=1_024)
def _zone(name: str) -> ZoneInfo:
    if not ZONE.fullmatch(name):
        raise ValueError(f"`timezone` {name!r} is not like Europe/Berlin")
    path = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    try:
        with path.open("rb") as file:
            return ZoneInfo.from_file(file, key=name)
    except (OSError, ValueError) as error:
        raise ValueError(f"there is no time zone {name!r}") from error
