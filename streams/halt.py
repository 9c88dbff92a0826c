"""How a worker ends when it must not go on.

An exception that reaches Faust's stream loop acknowledges the record that caused
it. So the rule is: whoever can not do its work ends the PROCESS, before anything
is acknowledged; the next owner starts from the last manifest and loses nothing.
"""

from __future__ import annotations

import logging
import os
import threading
from enum import IntEnum
from typing import NoReturn

from streams.wallclock import monotonic_s

logger = logging.getLogger(__name__)

BEAT_INTERVAL_S = 1.0


class Exit(IntEnum):
    """Exit codes of a worker."""

    STOPPED = 0
    """Told to end."""
    REFUSED = 2
    """The port of the pages or another request can not be had; see the message."""
    UNREACHABLE = 30
    """Kafka did not answer at the start."""
    HANDLER = 70
    """A record could not be handled or the orderly end took too long."""
    FENCED = 75
    """Another worker has claimed a partition we held; starting again is right."""
    SETTINGS = 78
    """Settings or topics are wrong; starting again does not help."""


def end_process(code: Exit, message: str, *args: object) -> NoReturn:
    """End at once: one log line, no handlers, no acknowledgement, no commit."""
    logger.critical(message, *args)
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(code)


class Watchdog:
    """Ends the process when its event loop, or its end, takes too long.

    A thread of its own, because a loop that hangs can not watch itself.

    Parameters
    ----------
    stall_limit_s : float
        Longest silence of the event loop that is tolerated.
    """

    def __init__(self, *, stall_limit_s: float) -> None:
        self._stall_limit_s = stall_limit_s
        self._deadline_s = monotonic_s() + stall_limit_s
        self._ending = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, name="hypercare-watchdog", daemon=True
        )

    def start(self) -> None:
        """Begin to watch; the loop must call :meth:`beat` from now on."""
        self._deadline_s = monotonic_s() + self._stall_limit_s
        self._thread.start()

    def beat(self) -> None:
        """Tell the watchdog that the event loop is alive."""
        if not self._ending:
            self._deadline_s = monotonic_s() + self._stall_limit_s

    def ending(self, *, limit_s: float) -> None:
        """Give the process ``limit_s`` seconds to end in good order."""
        if not self._ending:
            self._ending = True
            self._deadline_s = monotonic_s() + limit_s

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()

    def expired(self, now_s: float) -> bool:
        """Return whether the time limit has passed."""
        return now_s > self._deadline_s

    def _watch(self) -> None:
        while not self._stopped.wait(BEAT_INTERVAL_S / 2):
            if self.expired(monotonic_s()):
                doing = "the end of the worker" if self._ending else "the event loop"
                end_process(
                    Exit.HANDLER, "%s hangs beyond its time limit: ending", doing
                )
