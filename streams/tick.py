"""Telling silent services what time it is.

Windows close when data says that time has passed. A service that receives nothing
would keep its last windows open for ever, so the owner of its partition writes a
``tick`` into the log: a record like any other, replayed like any other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from detector.events import EVERY_SERVICE
from streams.lane import TRANSIENT, Lane
from streams.lanes import EVERY_SERVICE_KEY, Lanes
from streams.statelog import Write

logger = logging.getLogger(__name__)


class TickSink(Protocol):
    """Writes records into a partition of a topic."""

    async def produce(
        self, topic: str, writes: Sequence[Write], *, partition: int | None = None
    ) -> list[int]:
        """Write and return the offsets once acknowledged."""


class Clock(Protocol):
    """Knows until when the log is complete (``streams.ingress.drained``)."""

    async def until_ms(self) -> int | None:
        """Return that time, or None if it has not moved on."""


def tick_bytes(now_ms: int) -> bytes:
    """Return the tick record that says it is ``now_ms``."""
    return msgspec.json.encode({"kind": "tick", "ts": now_ms, "service": EVERY_SERVICE})


class Ticker:
    """Writes ticks into the partitions that need one.

    Parameters
    ----------
    lanes : Lanes
        The partitions of this worker.
    sink : TickSink
        Where ticks are written.
    clock : Clock
        What time it is in the log.
    monotonic_s : callable
        Clock for how long a round takes.
    observe : callable
        Gets the length of each round in seconds.
    """

    def __init__(
        self,
        lanes: Lanes,
        sink: TickSink,
        clock: Clock,
        *,
        monotonic_s: Callable[[], float],
        observe: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._lanes = lanes
        self._sink = sink
        self._clock = clock
        self._monotonic_s = monotonic_s
        self._observe = observe
        self._last_tick: dict[int, int] = {}

    async def round(self) -> int:
        """Write one tick where it is due; return how many were written."""
        began_s, written = self._monotonic_s(), 0
        try:
            until_ms = await self._clock.until_ms()
            if until_ms is not None:
                for lane in list(self._lanes.lanes.values()):
                    written += await self._tick(lane, until_ms)
        except TRANSIENT as error:
            logger.warning("tick.put_off %r", error)
        self._lanes.counters.ticks_sent += written
        self._observe(self._monotonic_s() - began_s)
        return written

    async def _tick(self, lane: Lane, until_ms: int) -> int:
        """Tick a lane that wants it and has read the last tick it was given.

        A lane may lag: the tick stands behind what it has not read yet.
        """
        unread = self._last_tick.get(lane.partition, -1) >= lane.next_offset
        if not lane.is_ready or unread or not lane.core.wants_tick(until_ms):
            return 0
        (offset,) = await self._sink.produce(
            self._lanes.topic,
            [(EVERY_SERVICE_KEY, tick_bytes(until_ms))],
            partition=lane.partition,
        )
        self._last_tick[lane.partition] = offset
        return 1

    async def run(self, interval_s: float) -> None:
        """Write ticks until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            await self.round()
