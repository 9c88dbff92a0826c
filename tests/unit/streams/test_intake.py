"""The intake: what is committed, what is read again, and what waits for whom."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest
from faust.types import TP

from detector.records import Output
from streams.halt import Exit
from streams.ingress import intake as taking
from streams.ingress.door import Door
from streams.ingress.intake import Intake
from streams.ingress.pack import Raw
from streams.progress import Counters
from streams.settings import Settings
from tests.unit.streams.rig import Halted

KEY = b"0123456789abcdef"
USAGE, ERRORS = TP("hypercare.usage", 0), TP("hypercare.errors", 0)


class Gate:
    """A sink that keeps every write until it is let through or refused."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[None]] = []
        self.written: list[str] = []
        self.is_open = False

    async def write(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Wait, then take records."""
        if not self.is_open:
            future = asyncio.get_running_loop().create_future()
            self.waiting.append(future)
            await future
        for _, value in records:
            self.written += [event["id"] for event in json.loads(value)]

    async def dead(self, outputs: Sequence[Output]) -> None:
        """Take dead letters."""

    async def stop(self) -> None:
        """Nothing is connected."""

    def let(self) -> None:
        """Acknowledge the oldest write."""
        self.waiting.pop(0).set_result(None)


class World:
    """An intake of two partitions with small runs, and its gate."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.halts: list[Halted] = []
        door = Door(Settings(), KEY, self.gate, Counters())
        self.intake = Intake(door, halt=self._halt, monotonic_s=lambda: 0.0)
        self.ends = {USAGE: 0, ERRORS: 0}
        self.intake.bind(lambda: list(self.ends), self.ends.__getitem__)

    def _halt(self, code: Exit, message: str, *args: object) -> None:
        self.halts.append(Halted(code, message % args))
        raise self.halts[-1]

    def give(self, tp: TP, start: int, stop: int) -> None:
        """Fetch records."""
        self.ends[tp] = max(stop, self.ends[tp])
        self.intake.asked([USAGE, ERRORS])
        self.intake.on_records(tp, [message(tp, n) for n in range(start, stop)])
        self.intake.go_on()

    async def until_waiting(self, count: int = 1) -> None:
        """Let tasks run until so many writes wait for the broker."""
        while len(self.gate.waiting) < count:
            await asyncio.sleep(0)

    async def settled(self) -> None:
        """Let everything that can be done be done."""
        await self.intake.on_revoked(5.0)


def message(tp: TP, n: int) -> Raw:
    event = {"kind": "usage", "ts": 1_700_000_000_000, "service": "a", "release": "1"}
    value = json.dumps({**event, "id": f"{tp.topic[10]}{n}"}).encode()
    return Raw(tp.topic, tp.partition, n, 1_000 + n, value)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(taking, "RUN_RECORDS", 10)
    monkeypatch.setattr(taking, "GATHER_RECORDS", 0)
    made = World()
    yield made
    await made.intake.stop()


async def test_nothing_is_committed_before_acknowledged(world: World) -> None:
    """The committed offset is the lowest that is not acknowledged, to the one."""
    world.give(USAGE, 0, 25)
    found = []
    for _ in range(3):
        await world.until_waiting()
        found.append(world.intake.committable(USAGE))
        world.gate.let()
    await world.settled()
    assert [*found, world.intake.committable(USAGE)] == [None, 10, 20, 25]


async def test_offsets_with_holes_are_committed(world: World) -> None:
    """A hole in the offsets, as a transaction leaves it, is stepped over."""
    world.gate.is_open = True
    world.intake.on_records(USAGE, [message(USAGE, n) for n in (3, 7)])
    world.intake.go_on()
    while world.intake.committable(USAGE) is None:
        await asyncio.sleep(0)
    assert world.intake.committable(USAGE) == 8


async def test_one_run_waits_at_most(world: World) -> None:
    """While a run waits for the broker no other is sent, and records stay held."""
    world.give(USAGE, 0, 50)
    await world.until_waiting()
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(world.gate.waiting) == 1
    assert world.intake.position(USAGE) == 20, "one more is packed"
    assert world.intake.holds


async def test_slow_broker_stops_the_fetching(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When much is held a partition is no longer fetched, until the broker answers."""
    monkeypatch.setattr("streams.ingress.merge.HELD_MAX", 30)
    monkeypatch.setattr("streams.ingress.merge.READY_MAX", 10)
    world.give(USAGE, 0, 20)
    await world.until_waiting()
    world.give(USAGE, 20, 60)
    assert not world.intake.wants(USAGE)
    assert world.intake.wants(ERRORS)
    world.gate.is_open = True
    world.gate.let()
    while not world.intake.wants(USAGE):
        await asyncio.sleep(0)


async def test_order_of_time_over_topics(world: World) -> None:
    """What comes through two topics enters the log in Kafka's order of time."""
    world.gate.is_open = True
    world.ends[ERRORS] = 4
    world.give(USAGE, 0, 4)
    world.give(ERRORS, 0, 4)
    while len(world.gate.written) < 8:
        await asyncio.sleep(0)
    assert world.gate.written == [f"{t}{n}" for n in range(4) for t in "eu"]


async def test_seek_reads_only_what_was_not_taken(world: World) -> None:
    """A seek goes behind what has been taken, so that nothing is moved twice."""
    world.give(USAGE, 0, 30)
    await world.until_waiting()
    world.intake.on_seek()
    at = world.intake.position(USAGE)
    assert at is not None
    world.gate.is_open = True
    world.gate.let()
    world.give(USAGE, at, 30)
    while world.intake.committable(USAGE) != 30:
        await asyncio.sleep(0)
    assert world.gate.written == [f"u{n}" for n in range(30)]


async def test_revoked_partitions_are_finished_first(world: World) -> None:
    """What has been taken is moved before a partition is given back, and what has
    not is forgotten."""
    world.give(USAGE, 0, 30)
    await world.until_waiting()
    revoking = asyncio.ensure_future(world.intake.on_revoked(5.0))
    await asyncio.sleep(0)
    assert not revoking.done()
    world.gate.is_open = True
    world.gate.let()
    await revoking
    assert world.intake.committable(USAGE) == len(world.gate.written) == 20
    world.intake.forget([USAGE])
    assert world.intake.position(USAGE) is None
    assert world.intake.committable(USAGE) is None


async def test_hanging_broker_ends_the_wait(world: World) -> None:
    """A broker that says nothing holds a rebalance up no longer than allowed, and
    nothing of what it has is committed."""
    world.give(USAGE, 0, 5)
    await world.until_waiting()
    await world.intake.on_revoked(0.01)
    assert world.intake.committable(USAGE) is None


async def test_undeliverable_run_ends_the_process(world: World) -> None:
    """A record that the log refuses ends the process, naming its place, and nothing
    is committed."""
    world.give(USAGE, 3, 5)
    await world.until_waiting()
    world.gate.waiting.pop(0).set_exception(ValueError("refused"))
    while not world.halts:
        await asyncio.sleep(0)
    assert world.halts[0].code is Exit.HANDLER
    assert "hypercare.usage[0]@3: " in str(world.halts[0])
    assert world.intake.committable(USAGE) is None


async def test_closed_intake_takes_nothing(world: World) -> None:
    """At the end of a worker nothing more is taken."""
    await world.intake.close(1.0)
    world.give(USAGE, 0, 5)
    assert (world.intake.wants(USAGE), world.intake.holds) == (False, False)
