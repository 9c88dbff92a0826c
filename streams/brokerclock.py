"""What time is it for the brokers, whatever this machine believes.

The log's arrival clock is the broker's. A tick that tells the time of a worker whose
clock is ahead would make everything late that is still on its way. So ticks tell the
broker's time: that of the last record it acknowledged, and what has passed since by
the clock that nobody sets.
"""

from __future__ import annotations

from collections.abc import Callable

LOG_APPEND_TIME = 1
"""Kafka's number for a timestamp that the broker set."""


class BrokerClock:
    """Follows the brokers' clock from one acknowledgement to the next.

    Parameters
    ----------
    monotonic_s : callable
        Clock for what has passed since.
    wall_ms : callable
        What to believe while no broker has told its time: where topics keep the
        timestamps of their writers none ever does.

    Examples
    --------
    >>> passed = iter([10.0, 12.5])
    >>> clock = BrokerClock(lambda: next(passed), lambda: 99_000)
    >>> clock.now_ms()
    99000
    >>> clock.note(5_000, LOG_APPEND_TIME)
    >>> clock.now_ms()
    7500
    """

    def __init__(
        self, monotonic_s: Callable[[], float], wall_ms: Callable[[], int]
    ) -> None:
        self._monotonic_s = monotonic_s
        self._wall_ms = wall_ms
        self._noted: tuple[int, float] | None = None

    def note(self, timestamp_ms: int, timestamp_type: int) -> None:
        """Take the timestamp of a record that was acknowledged just now."""
        if timestamp_type == LOG_APPEND_TIME:
            self._noted = timestamp_ms, self._monotonic_s()

    def now_ms(self) -> int:
        """Return the brokers' time; never ahead of it by more than they differ."""
        if self._noted is None:
            return self._wall_ms()
        timestamp_ms, noted_s = self._noted
        return timestamp_ms + int((self._monotonic_s() - noted_s) * 1000)
