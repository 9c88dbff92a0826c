"""When a record counts: arrival clock, watermark, lateness, clock skew.

The arrival clock is Kafka's record timestamp as a running maximum per
partition. A service's watermark is the maximum over its accepted usage, and the
ticks, of min(end, arrival): it never runs ahead of either clock, so a sender from
the future can not close anybody's window.
"""

from __future__ import annotations

from detector.events import Envelope

SENDER_SKEW_MAX_MS = 60_000
"""A sender whose clock is further off than this is corrected by ``sent_at``."""


def skew_ms(event: Envelope, arrival_ms: int) -> int:
    """How far the sender's clock lags ours, 0 if within the limit or unknown."""
    if event.sent_at is None:
        return 0
    received_ms = arrival_ms if event.received_at is None else event.received_at
    lag_ms = received_ms - event.sent_at
    return lag_ms if abs(lag_ms) > SENDER_SKEW_MAX_MS else 0


def grid_end_ms(end_ms: int, width_ms: int) -> int:
    """End of the half-open grid window that holds ``end_ms`` minus 1 ms."""
    return ((end_ms - 1) // width_ms + 1) * width_ms


def wider_ms(width_ms: int, needed_ms: int) -> int:
    """Least multiple of the present width that is at least ``needed_ms``.

    Widths only grow and stay multiples of each other, so that a window that is
    still open always lies wholly inside one wider window.
    """
    return -(-needed_ms // width_ms) * width_ms if needed_ms > width_ms else width_ms
