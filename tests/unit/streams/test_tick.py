"""Ticks: only for partitions that want one, and never ahead of ingress."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import pytest
from faust.types import TP

from detector.decode import decode
from detector.events import Tick
from streams.ingress.drained import Drained, Held
from streams.statelog import Write
from streams.tick import Ticker, tick_bytes
from tests.integration.workers import CountingPartition
from tests.unit.streams.rig import LOG, Rig

P0 = TP(LOG, 0)
NOW_MS = 1_700_000_000_000


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


class Always:
    """A log that is always complete up to now."""

    async def until_ms(self) -> int | None:
        """Return now."""
        return NOW_MS


class Offsets:
    """Ingress offsets a test sets."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, int], Held] = {}

    async def ingress_offsets(self) -> Mapping[tuple[str, int], Held]:
        """Return what the test set."""
        return dict(self.held)


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
    return Ticker(rig.lanes, sink, Always(), monotonic_s=lambda: 0.0)


def test_tick_is_a_record() -> None:
    """A tick decodes as the envelope's tick for all services."""
    (event,) = decode(tick_bytes(5))
    assert isinstance(event, Tick)
    assert (event.ts, event.service) == (5, "all")


async def test_wanting_partition_is_ticked(rig: Rig) -> None:
    """A partition that wants ticks gets one a round, once it has read the last."""
    sink = Written(rig)
    one = ticker(rig, sink)
    assert [await one.round() for _ in range(2)] == [1, 0]
    await rig.fetch()
    assert await one.round() == 1
    assert sink.writes[0] == (0, b"all", tick_bytes(NOW_MS))


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


async def test_backlog_holds_time_back() -> None:
    """The time told is that of a look all of whose records have been moved."""
    offsets, clock = Offsets(), iter(range(1000, 9000, 1000))
    drained = Drained(offsets, now_ms=lambda: next(clock))
    usage = ("usage", 0)
    offsets.held = {usage: Held(0, 500, 100), ("errors", 0): Held(0, 0, None)}
    assert await drained.until_ms() is None
    assert await drained.until_ms() is None, "400 records of the look are not moved"
    offsets.held = {usage: Held(0, 900, 500), ("errors", 0): Held(0, 0, None)}
    assert await drained.until_ms() == 1000
    offsets.held = {usage: Held(0, 900, 900), ("errors", 0): Held(0, 0, None)}
    assert await drained.until_ms() == 3000


async def test_expired_records_are_not_waited_for() -> None:
    """What retention deleted can not be moved: it holds nothing back."""
    offsets, clock = Offsets(), iter(range(1000, 9000, 1000))
    drained = Drained(offsets, now_ms=lambda: next(clock))
    offsets.held = {("usage", 0): Held(700, 700, None)}
    assert await drained.until_ms() is None
    assert await drained.until_ms() == 1000
