"""RFC 3339 times of edge formats as integer epoch milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,12}))?"
    r"(?:[Zz]|([+-])(\d\d):(\d\d))\Z",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def epoch_ms(text: str) -> int | None:
    """The epoch milliseconds of an RFC 3339 time, or None if it is none.

    An offset is required: a local time without one is a guess. A leap second
    (``:60``) is the first of the next minute; finer digits are cut off.

    Examples
    --------
    >>> epoch_ms("2024-01-15T10:20:30.1239+02:00")
    1705306830123
    >>> epoch_ms("2024-01-15T10:20:30") is None
    True
    """
    match = _RFC3339.match(text)
    if match is None:
        return None
    fraction, sign, hours, minutes = match.groups()[6:]
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    leap = second == 60
    try:
        at = datetime(year, month, day, hour, minute, second - leap, tzinfo=UTC)
    except ValueError:
        return None
    if sign and (int(hours) > 23 or int(minutes) > 59):
        return None
    shift_min = (int(hours) * 60 + int(minutes)) if sign else 0
    ms = int((fraction or "").ljust(3, "0")[:3]) + 1000 * leap
    east = -1 if sign == "+" else 1
    return (at - _EPOCH) // _MS + ms + east * shift_min * 60_000
