"""Ticks: only for silent, caught-up partitions that want one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from faust.types import TP

from detector.decode import decode
from detector.events import Tick
from streams.fence import Write
from streams.tick import Ticker, tick_bytes
from tests.integration.workers import CountingPartition
from tests.unit.streams.rig import LOG, Rig

P0 = TP(LOG, 0)


class Written:
    """A sink that appends ticks to the rig's log."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.writes: list[tuple[int | None, bytes, bytes | None]] = []
        self.failing = False

    async def produce(
        self, topic: str, writes: Sequence[Write], *, partition: int | None = None
    ) -> list[int]:
        """Take one tick and give it the next offset."""
        if self.failing:
            raise TimeoutError("not acknowledged")
        ((key, value),) = writes
        self.writes.append((partition, key, value))
        self.rig.thread.produce(P0, 1)
        return [self.rig.thread.highwater(P0) - 1]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig([P0])
    await made.own()
    yield made
    await made.close()


def ticker(rig: Rig, sink: Written, *, wanted: bool = True) -> Ticker:
    core = rig.lane().core
    assert isinstance(core, CountingPartition)
    core.wanted_ticks = int(wanted)
    return Ticker(rig.lanes, sink, now_ms=lambda: 1_700_000_000_000)


def test_tick_is_a_record() -> None:
    """A tick decodes as the envelope's tick for all services."""
    (event,) = decode(tick_bytes(5))
    assert isinstance(event, Tick)
    assert (event.ts, event.service) == (5, "all")


async def test_silent_partition_is_ticked(rig: Rig) -> None:
    """From the second silent round on the partition gets one tick per round."""
    sink = Written(rig)
    one = ticker(rig, sink)
    assert [await one.round() for _ in range(2)] == [0, 1]
    await rig.fetch()
    assert await one.round() == 1
    assert sink.writes[0] == (0, b"all", tick_bytes(1_700_000_000_000))


async def test_busy_partition_is_left(rig: Rig) -> None:
    """A partition that receives records needs nobody to tell the time."""
    one = ticker(rig, Written(rig))
    await one.round()
    rig.thread.produce(P0, 1)
    await rig.fetch()
    assert await one.round() == 0


async def test_lagging_partition_is_left(rig: Rig) -> None:
    """A partition with unread records gets no tick: its time is not now."""
    one = ticker(rig, Written(rig))
    await one.round()
    rig.thread.produce(P0, 1)
    assert await one.round() == 0


async def test_content_partition_is_left(rig: Rig) -> None:
    """Where nothing is open no tick is written."""
    one = ticker(rig, Written(rig), wanted=False)
    assert [await one.round() for _ in range(3)] == [0, 0, 0]


async def test_failing_tick_is_survived(rig: Rig) -> None:
    """A tick that can not be written is left out, nothing else happens."""
    sink = Written(rig)
    sink.failing = True
    one = ticker(rig, sink)
    assert [await one.round() for _ in range(3)] == [0, 0, 0]
