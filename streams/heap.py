"""Looks for cyclic garbage rarely, and gives back what the C library keeps free.

Records, snapshots and pages come and go beside state that stays, in several threads
with heaps of their own. glibc gives only the end of a heap back, so what is free
within it stays resident: measured, 3 MB in half an hour under a light load while what
was in use did not grow at all.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable

from streams.wallclock import monotonic_s

TRIM_S = 30.0
"""Least time between two looks; one takes a millisecond for a heap of 35 MB."""

TRIM_REST = 500.0
"""How many times its own length a look is away from the next: threads that want memory
wait meanwhile, and half a gigabyte in small pieces takes 0.2 s."""


COLLECT_AFTER = (20_000, 20, 20)
"""Objects that are made and stay before the collector looks at the young ones, and
how many of its looks before it goes on to the next older generation.

By default it looks after 700. A fetch makes thousands of records that live until they
are counted: they grew old, and every time the old ones had grown by a quarter all
objects of the worker were walked through, a third of its processor time."""


def collect_rarely() -> None:
    """Let the collector look as often as suits thousands of records at a time."""
    gc.set_threshold(*COLLECT_AFTER)


def collect_young() -> None:
    """Look at what was made since the last time, and not at what is old by now.

    Under a light load it takes half an hour until so many objects stay that the
    collector looks by itself, and cycles grow meanwhile. This takes a millisecond.
    """
    gc.collect(1)


def trimmer() -> Callable[[], float] | None:
    """Return what gives free memory back; None where the C library has no such thing.

    It returns how long that took, without the wait for a thread's turn: under load
    that is far longer. Only glibc has the function; musl and macOS keep little.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int

    def timed() -> float:
        begun_s = monotonic_s()
        trim(0)
        return monotonic_s() - begun_s

    return timed


__all__ = ["TRIM_REST", "TRIM_S", "collect_rarely", "collect_young", "trimmer"]
