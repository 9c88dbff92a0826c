"""The only module that reads a clock.

Everything else is told what time it is, so that a decision can be replayed. Three
clocks, three uses: wall time goes into records (ticks, ``received_at``) and is
never compared with itself; intervals and time limits use the monotonic clock,
which does not jump when an operator or NTP sets the date; the cost of work is measured
in processor time, which other programs do not change.
"""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return the wall clock in integer epoch milliseconds."""
    return time.time_ns() // 1_000_000


def monotonic_s() -> float:
    """Return seconds on a clock that never goes back, for intervals only."""
    return time.monotonic()


def process_s() -> float:
    """Return the processor time this process has used, for measuring work."""
    return time.process_time()
