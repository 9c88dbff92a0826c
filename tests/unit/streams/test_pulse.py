"""Each partition's owner says until when it has read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
from faust.types import TP

from streams.progress import LaneState
from streams.pulse import INTERVAL_S, LOOK_S, Pulse, Pulses, pulse_of
from streams.statelog import Write
from tests.unit.streams.rig import LOG, Rig

P0 = TP(LOG, 0)
NOW_MS = 1_700_000_000_000


class Written:
    """A topic of pulses."""

    def __init__(self) -> None:
        self.pulses: list[Pulse] = []
        self.failing = False

    async def produce(
        self, topic: str, writes: Sequence[Write], *, partition: int | None = None
    ) -> list[int]:
        """Keep what is written."""
        if self.failing:
            raise TimeoutError("not acknowledged")
        assert (topic, partition) == ("pulse", 0)
        self.pulses += [msgspec.json.decode(v or b"", type=Pulse) for _, v in writes]
        return list(range(len(writes)))


class Clock:
    """The brokers' time."""

    def now_ms(self) -> int:
        """Return it."""
        return NOW_MS


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A worker with one partition that holds five records."""
    made = Rig([P0])
    made.thread.produce(P0, 5)
    yield made
    await made.close()


async def test_read_to_the_end_is_now(rig: Rig) -> None:
    """Where nothing waits everything is read until now."""
    await rig.own()
    await rig.fetch()
    pulse = pulse_of(rig.lane(), "w", NOW_MS)
    assert (pulse.state, pulse.next_offset) == (LaneState.READY, 5)
    assert pulse.read_until_ms == NOW_MS


async def test_waiting_records_are_told(rig: Rig) -> None:
    """Where records wait it is read until the last one that was applied; before the
    first one nobody knows."""
    await rig.own()
    assert pulse_of(rig.lane(), "w", NOW_MS).read_until_ms is None
    await rig.fetch()
    rig.lane().highwater = 9
    assert pulse_of(rig.lane(), "w", NOW_MS).read_until_ms == 1_004


async def test_quiet_partition_is_read(rig: Rig) -> None:
    """A worker that takes over at the end of a quiet partition has read all of it."""
    await rig.own()
    await rig.fetch()
    await rig.lane().snapshot()
    heir = Rig([P0], rig.bus)
    heir.thread.produce(P0, 5)
    await heir.own()
    assert pulse_of(heir.lane(), "w", NOW_MS).read_until_ms == NOW_MS
    await heir.close()


async def test_each_beat_names_every_partition(rig: Rig) -> None:
    """Ready, restoring or blind: each partition is said; a topic that takes nothing
    ends nothing."""
    sink = Written()
    pulses = Pulses(rig.lanes, sink, Clock(), "pulse")
    await pulses.beat()
    assert sink.pulses == []
    await rig.own()
    sink.failing = True
    await pulses.beat()
    sink.failing = False
    rig.lane()._go_blind("lost")
    await pulses.beat()
    (pulse,) = sink.pulses
    assert (pulse.partition, pulse.worker, pulse.state, pulse.reason) == (
        *(0, "rig", LaneState.BLIND),
        "lost",
    )


async def test_change_is_said_at_once(rig: Rig) -> None:
    """Who takes a partition over speaks at once, then as often as everybody does."""
    written = Written()
    pulses = Pulses(rig.lanes, written, Clock(), "pulse")
    await pulses.look()
    assert written.pulses == []
    await rig.own()
    await rig.fetch()
    for _ in range(int(INTERVAL_S / LOOK_S)):
        await pulses.look()
    assert [(p.state, p.read_until_ms) for p in written.pulses] == [
        (LaneState.READY, NOW_MS)
    ]
    await pulses.look()
    assert len(written.pulses) == 2
