"""Telling a silent partition what time it is.

Windows close when data says that time has passed. A partition that receives
nothing would keep its last windows open for ever, so its owner writes a ``tick``
into the log: a record like any other, replayed like any other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from detector.events import EVERY_SERVICE
from streams.fence import Write
from streams.lane import TRANSIENT, Lane
from streams.lanes import EVERY_SERVICE_KEY, Lanes

logger = logging.getLogger(__name__)


class TickSink(Protocol):
    """Writes records into a partition of a topic."""

    async def produce(
        self, topic: str, writes: Sequence[Write], *, partition: int | None = None
    ) -> list[int]:
        """Write and return the offsets once acknowledged."""


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
    now_ms : callable
        The wall clock.
    """

    def __init__(
        self, lanes: Lanes, sink: TickSink, *, now_ms: Callable[[], int]
    ) -> None:
        self._lanes = lanes
        self._sink = sink
        self._now_ms = now_ms
        self._last_offset: dict[int, int] = {}

    async def round(self) -> int:
        """Write one tick where it is due; return how many were written."""
        written = 0
        for lane in list(self._lanes.lanes.values()):
            try:
                written += await self._tick(lane)
            except TRANSIENT as error:
                logger.warning("tick.put_off partition=%d %r", lane.partition, error)
        self._lanes.counters.ticks_sent += written
        return written

    async def _tick(self, lane: Lane) -> int:
        """Tick a lane that was silent since the last round and has no lag."""
        before = self._last_offset.get(lane.partition)
        self._last_offset[lane.partition] = lane.next_offset
        if not lane.is_ready or before != lane.next_offset:
            return 0
        now_ms = self._now_ms()
        if not lane.core.wants_tick(now_ms) or not await self._lanes.is_caught_up(lane):
            return 0
        (offset,) = await self._sink.produce(
            self._lanes.topic,
            [(EVERY_SERVICE_KEY, tick_bytes(now_ms))],
            partition=lane.partition,
        )
        # Our own tick is not a sign of life of the partition.
        self._last_offset[lane.partition] = offset + 1
        return 1

    async def run(self, interval_s: float) -> None:
        """Write ticks until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            await self.round()
