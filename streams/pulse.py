"""How far a worker has read, said aloud: without it silence looks like health.

A verdict is published when it changes, so its age says nothing. Each owner of a
partition says every few seconds until when it has read; who acts takes an old word, or
none, for blindness.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

import msgspec
from msgspec import Struct

from streams.lane import TRANSIENT, Lane
from streams.lanes import Lanes
from streams.progress import LaneState
from streams.statelog import Write
from streams.tick import TickSink

logger = logging.getLogger(__name__)

INTERVAL_S = 5.0
LOOK_S = 0.5
"""Who takes a partition over, or loses sight of it, says so this soon."""


class Pulse(Struct, frozen=True):
    """What the owner of a partition of the log says about it.

    ``read_until_ms`` is the broker's time up to which everything is read: now where
    nothing waits, else the time of the last record that was applied; None before.
    """

    partition: int
    worker: str
    epoch: int
    state: LaneState
    reason: str
    next_offset: int
    read_until_ms: int | None


class BrokersTime(Protocol):
    """Knows the brokers' time."""

    def now_ms(self) -> int:
        """Return it."""


class Pulses:
    """Says of each partition of a worker how far it is.

    Parameters
    ----------
    lanes : Lanes
        The partitions.
    sink : TickSink
        Where pulses are written.
    clock : BrokersTime
        What time it is.
    topic : str
        Full name of the topic.
    """

    def __init__(
        self, lanes: Lanes, sink: TickSink, clock: BrokersTime, topic: str
    ) -> None:
        self._lanes = lanes
        self._sink = sink
        self._clock = clock
        self._topic = topic
        self._said: set[tuple[int, LaneState, bool]] = set()
        self._silent_s = 0.0

    async def beat(self) -> None:
        """Write the pulse of each partition once."""
        now_ms, worker = self._clock.now_ms(), self._lanes.settings.worker
        writes: list[Write] = []
        for lane in list(self._lanes.lanes.values()):
            pulse = pulse_of(lane, worker, now_ms)
            writes.append((str(lane.partition).encode(), msgspec.json.encode(pulse)))
        try:
            if writes:
                await self._sink.produce(self._topic, writes, partition=0)
        except TRANSIENT as error:
            logger.warning("pulse.put_off %r", error)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Beat if something has changed since the last beat, or it is long ago."""
        found = [lane.progress() for lane in self._lanes.lanes.values()]
        standing = {(one.partition, one.state, one.highwater is None) for one in found}
        self._silent_s += LOOK_S
        if standing != self._said or self._silent_s >= INTERVAL_S:
            self._said, self._silent_s = standing, 0.0
            await self.beat()


def pulse_of(lane: Lane, worker: str, now_ms: int) -> Pulse:
    """The pulse of a partition at a moment of the brokers' time."""
    told = lane.progress()
    is_read = told.highwater is not None and told.next_offset >= told.highwater
    return Pulse(
        partition=told.partition,
        worker=worker,
        epoch=told.epoch,
        state=told.state,
        reason=told.reason or told.held_back,
        next_offset=told.next_offset,
        read_until_ms=now_ms if is_read else lane.applied_ms,
    )
