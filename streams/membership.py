"""How a worker is a member of its group: the same for Faust's consumer and for ours.

Both may be in one group; whose limits differed would be thrown out, or wait, at other
times than the other.
"""

from __future__ import annotations

from streams.settings import Settings

FETCH_RECORDS = 5_000
FETCH_BYTES = 4 * 1024 * 1024
"""Most that one fetch hands over, and most of one partition."""

POLL_INTERVAL_S = 365 * 86_400
"""Longest time without a fetch before a member leaves the group: for ever.

A member without partitions never fetches. aiokafka would let it leave the group and
never join again; who hangs is ended by the watchdog.
"""


def heartbeat_s(settings: Settings) -> float:
    """Seconds between two heartbeats: three of them in a session."""
    return min(3.0, settings.session_timeout_s / 3)


def join_s(settings: Settings) -> float:
    """How long a join may wait for the others; a frozen node is not waited for as long.

    Faust's own 90 s are how long it would wait for such a node.
    """
    return settings.session_timeout_s + 2 * settings.io_timeout_s


def release_s(settings: Settings) -> float:
    """The part of the time for an orderly end in which what was begun is finished."""
    return 0.8 * settings.shutdown_timeout_s
