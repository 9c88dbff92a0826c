"""How long a worker takes from the assignment of a partition until it can read on.

Through a real Apache Kafka: what a snapshot left there is claimed, fetched, unpacked
and restored by a lane as in a worker. ``bench.state`` brings the state and prints the
times.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.throughput import rules
from detector import state
from detector.blocks import scope_of
from detector.records import Output
from streams import bounded, gzipped
from streams.bus import Bus
from streams.core import DetectorCores
from streams.fence import Fence, Frozen
from streams.heap import collect_rarely
from streams.kafka_local import LocalKafka, free_ports
from streams.lane import Lane, LaneConfig
from streams.packs import Packs, unpack
from streams.ports import Bounds
from streams.progress import Counters
from streams.settings import Settings, StateReset
from streams.topics import create_missing


def renamed(name: str, block: bytes, service: str) -> bytes:
    """A block of a service, for one of another name."""
    if not name.startswith(state.SCOPE_PREFIX):
        return block
    found = msgspec.msgpack.decode(block, type=state.ScopeBlock)
    found.scope.service = service
    return msgspec.msgpack.encode(found)


class Left(NamedTuple):
    """The packs of a partition, for its next owner."""

    series: int
    next_offset: int
    stored: dict[str, bytes | None]


def copied(left: Left, times: int) -> Left:
    """The same with more services: what each of them went through again and again."""
    blocks: dict[str, bytes | None] = {}
    for name, block in unpack({n: b for n, b in left.stored.items() if b}).items():
        blocks[name] = block
        if "/" not in name:
            continue
        service = scope_of(name).service
        for number in range(1, times):
            other = f"{number}-{service}"
            copy = name.replace(service, other)
            blocks[copy] = renamed(copy, block, other)
    return Left(
        left.series * times,
        left.next_offset,
        Packs().pack(blocks, whole=True, due=set()),
    )


class Log:
    """The log, which is not what is measured here."""

    def __init__(self, end: int) -> None:
        self.end = end

    async def bounds(self, partition: int) -> Bounds:
        """All of it is there."""
        return Bounds(0, self.end, self.end)

    async def seek(self, partition: int, offset: int) -> None:
        """Nobody reads it."""


class Nowhere:
    """Takes outputs."""

    async def emit(self, outputs: Sequence[Output]) -> None:
        """There are none."""


async def assigned_s(left: Left, bootstrap: str, prefix: str) -> tuple[float, float]:
    """Seconds until an assigned lane is ready, by the clock and of CPU."""
    settings = Settings(kafka=bootstrap, prefix=prefix, group=prefix, partitions=1)
    await asyncio.get_running_loop().run_in_executor(None, create_missing, settings)
    bus = Bus(settings)
    await bus.start()
    try:
        former = Fence(bus.state_log(0), worker="former", log_partitions=1)
        await former.claim()
        offset = left.next_offset
        await former.write(Frozen(offset, left.stored, whole=True))
        config = LaneConfig(
            cores=DetectorCores(rules(), "hypercare.events"),
            log=Log(offset),
            emitter=Nowhere(),
            counters=Counters(),
            monotonic_s=time.monotonic,
            log_partitions=1,
            state_reset=StateReset.NO,
            topic="hypercare.events",
        )
        fence = Fence(bus.state_log(0), worker="heir", log_partitions=1)
        lane = Lane(0, fence, config)
        started, cpu_s = time.monotonic(), time.process_time()
        await lane.restore()
        taken_s, cpu_s = time.monotonic() - started, time.process_time() - cpu_s
        if not lane.is_ready:
            raise RuntimeError(lane.reason)
        return taken_s, cpu_s
    finally:
        await bus.stop()


def through_kafka(every: list[Left]) -> Iterator[str]:
    """Recovery from a broker of its own, which is wiped afterwards."""
    gzipped.install()  # as workers do
    bounded.install()
    collect_rarely()
    with tempfile.TemporaryDirectory() as folder:
        broker = LocalKafka(Path(folder) / "kafka", port=free_ports(2), tied=True)
        broker.start(lambda line: print(line, file=sys.stderr))
        try:
            for left in every:
                run = assigned_s(left, broker.bootstrap, f"state-{left.series}")
                ready_s, cpu_s = asyncio.run(run)
                yield (
                    f"{left.series:,} series: ready {ready_s:.2f} s after assignment, "
                    f"{cpu_s:.2f} s of CPU"
                )
        finally:
            broker.wipe()
