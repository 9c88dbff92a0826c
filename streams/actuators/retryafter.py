"""How long a server wants to be left alone."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

from streams.outgoing import Reply

THROTTLED = (429, 502, 504)
THROTTLE_MS = 60_000
"""At least so long after an answer that says: too much."""


def retry_after_ms(reply: Reply, now_ms: int) -> int:
    """Milliseconds until the next attempt may be made, 0 if nothing was said.

    ``Retry-After`` may be seconds or a date.
    """
    least_ms = THROTTLE_MS if reply.status in THROTTLED else 0
    text = reply.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return max(int(text) * 1_000, 0) or least_ms
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return least_ms
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(int(at.timestamp() * 1_000) - now_ms, 0) or least_ms
