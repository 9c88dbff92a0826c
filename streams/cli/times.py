"""Times and lengths of time as people write them on a command line."""

from __future__ import annotations

import re
from datetime import datetime

from streams.errors import Refused

LENGTH = re.compile(r"(\d+)(s|m|h|d)")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds_of(text: str, option: str) -> int:
    """A length of time, as ``90s``, ``10m``, ``6h`` or ``2d``.

    Raises
    ------
    Refused
        It is none; the message names ``option``.
    """
    found = LENGTH.fullmatch(text)
    if found is None:
        raise Refused(
            f"{option}: {text!r} is no length of time: write 30s, 10m, 6h, 2d"
        )
    return int(found[1]) * SECONDS[found[2]]


def epoch_ms_of(text: str, option: str) -> int:
    """A time in epoch milliseconds, from RFC 3339 with an offset or epoch seconds.

    Raises
    ------
    Refused
        It is neither; the message names ``option``.
    """
    if re.fullmatch(r"\d{9,11}", text):
        return int(text) * 1000
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Refused(
            f"{option}: {text!r} is no time: write it with an offset, as in "
            "2026-11-01T12:00:00Z, or as epoch seconds"
        )
    return int(found.timestamp() * 1000)
