"""Keeps the log of a worker readable while Kafka is away.

The clients report every attempt: measured, 80 lines a second without a broker. The
first line of a kind says all there is to know until the next interval is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from streams.wallclock import monotonic_s

LOUD = ("faust", "aiokafka", "mode", "kafka")
"""Loggers that stay at DEBUG under Faust's ``-l warn`` and cost 11 % of the CPU.

At DEBUG the clients would also write every request, passwords of SASL with it.
"""

REPEAT_S = 10.0
KINDS_MAX = 1_000


class Repeats(logging.Filter):
    """Lets each kind of line of the libraries through once per interval.

    A kind is a logger, a level and a message before its arguments are put in; the
    line that comes next says how many were left out.

    Parameters
    ----------
    interval_s : float
        Shortest time between two lines of a kind.
    clock_s : callable
        Clock that never goes back.
    """

    def __init__(
        self,
        interval_s: float = REPEAT_S,
        clock_s: Callable[[], float] = monotonic_s,
    ) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._clock_s = clock_s
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written."""
        if record.name.partition(".")[0] not in LOUD:
            return True
        if _is_cancellation(record):
            return False
        kind = (record.name, record.levelno, str(record.msg))
        now_s = self._clock_s()
        last_s, left_out = self._seen.get(kind, (-self._interval_s, 0))
        if now_s - last_s < self._interval_s:
            self._seen[kind] = (last_s, left_out + 1)
            return False
        if len(self._seen) >= KINDS_MAX:
            self._seen.clear()
        self._seen[kind] = (now_s, 0)
        if left_out:
            record.msg = f"{record.getMessage()} (left out: {left_out} like this)"
            record.args = ()
        return True


def quieten() -> None:
    """Stop libraries from building records nobody reads, and from repeating them."""
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.INFO)
    for handler in logging.getLogger().handlers:
        handler.addFilter(Repeats())


def _is_cancellation(record: logging.LogRecord) -> bool:
    """Whether a line reports a task cancelled at the end: no error of anybody."""
    kind = record.exc_info[0] if isinstance(record.exc_info, tuple) else None
    return kind is not None and issubclass(kind, asyncio.CancelledError)
