"""Ingress in the batch source: seeks, rebalances and commits, with Faust's code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from faust.types import TP

from detector.records import Output
from streams.ingress import intake as taking
from tests.unit.streams.rig import USAGE, Rig

ERRORS = "hypercare.errors"
U0, U1, E0 = TP(USAGE, 0), TP(USAGE, 1), TP(ERRORS, 0)


class Letters:
    """A sink that keeps the places of dead letters: the rig's records are no events."""

    def __init__(self) -> None:
        self.places: list[tuple[str, int, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def dead(self, outputs: Sequence[Output]) -> None:
        """Take dead letters."""
        await self.gate.wait()
        for output in outputs:
            topic, partition, offset, _ = output.key.split("/")
            self.places.append((topic, int(partition), int(offset)))

    async def write(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """There are no events."""
        assert not records

    async def stop(self) -> None:
        """Nothing is connected."""

    def of(self, tp: TP) -> list[int]:
        """Return the offsets of a partition's letters, as they came."""
        return [n for topic, part, n in self.places if (topic, part) == tp]


class Flushed:
    """Faust's own producer, which ingress does not use: there is nothing to flush."""

    async def flush(self) -> None:
        """Faust asks for it before a commit."""


class World:
    """A rig with ingress partitions only, and its letters."""

    def __init__(self) -> None:
        self.letters = Letters()
        self.rig = Rig([U0, U1, E0])
        self.intake = self.rig.app.intake
        self.intake._door.sink = self.letters

    async def fetch(self, rounds: int = 1) -> None:
        """Fetch, and let the intake move what it may."""
        for _ in range(rounds):
            await self.rig.fetch()
            for _ in range(20):
                await asyncio.sleep(0)

    def committable(self) -> dict[TP, int]:
        """Return what Faust would commit now."""
        consumer = self.rig.consumer
        return consumer._filter_committable_offsets(
            consumer._filter_tps_with_pending_acks()
        )


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(taking, "GATHER_RECORDS", 0)
    made = World()
    yield made
    await made.intake.stop()
    await made.rig.close()


async def test_ingress_takes_no_agents_way(world: World) -> None:
    """Records of ingress topics go to the intake and not to agents."""
    for tp in (U0, U1, E0):
        world.rig.thread.produce(tp, 5)
    await world.fetch(3)
    assert [world.letters.of(tp) for tp in (U0, U1, E0)] == [[*range(5)]] * 3
    assert world.rig.messages == []
    assert world.committable() == {U0: 5, U1: 5, E0: 5}


async def test_unacknowledged_records_are_not_committed(world: World) -> None:
    """While Kafka has not taken a run, none of it is committed."""
    world.letters.gate.clear()
    world.rig.thread.produce(U0, 5)
    await world.fetch(2)
    assert world.committable() == {}
    world.letters.gate.set()
    await world.fetch()
    assert world.committable() == {U0: 5}


@pytest.mark.parametrize("at", range(6))
async def test_seek_moves_each_record_once(world: World, at: int) -> None:
    """Whenever Faust seeks to its commits, each record is moved once, in order."""
    world.rig.thread.produce(U0, 40)
    world.rig.thread.produce(U1, 40)
    await world.fetch(at // 2)
    world.rig.thread.before_return = world.rig.consumer.perform_seek
    await world.fetch()
    if at % 2:
        await world.rig.consumer.perform_seek()
    await world.fetch(8)
    assert world.letters.of(U0) == world.letters.of(U1) == [*range(40)]


async def test_revoked_partitions_are_committed_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was taken is moved and committed before Faust forgets the partition, and
    its next owner begins behind it."""
    world.rig.thread.produce(U0, 30)
    await world.fetch()
    consumer, mine = world.rig.consumer, {U0, U1, E0}

    async def stop_nothing(revoked: set[TP]) -> None:
        """Stand for the rest of Faust, which does not run here."""

    monkeypatch.setattr(world.rig.app, "_producer", Flushed())
    monkeypatch.setattr(consumer, "_on_partitions_revoked", stop_nothing)
    await consumer.on_partitions_revoked(mine)
    moved = world.letters.of(U0)
    assert world.rig.thread.commits[U0] == len(moved) == 10
    assert world.intake.position(U0) is None
    consumer._set_active_tps(mine)
    await consumer.perform_seek()
    await world.fetch(6)
    assert world.letters.of(U0) == [*range(30)]


async def test_stopped_flow_moves_nothing(world: World) -> None:
    """A fetch that returns after the flow was stopped is undone."""

    async def stop() -> None:
        world.rig.consumer.stop_flow()

    world.rig.thread.produce(U0, 10)
    world.rig.thread.before_return = stop
    await world.fetch()
    assert (world.letters.places, world.rig.thread.positions[U0]) == ([], 0)


async def test_ingress_is_not_called_stuck(world: World) -> None:
    """Faust's detector of stuck streams leaves ingress partitions alone."""
    world.rig.consumer.verify_event_path(0.0, U0)
