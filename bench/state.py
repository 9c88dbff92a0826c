"""What do ticks, snapshots and recovery cost, against the number of series?

Run ``python -m bench.state`` for 1,000 and 10,000 series, ``--series 1k,100k`` for
others, ``--kafka`` to recover through a real Apache Kafka too, ``--copies 5`` to do
that with five times the services, alike but for their names. Prints Markdown. CPU is
the process's own; a snapshot's figures are averages over several windows, a series
that has changed, whether the snapshot holds it or leaves it for later. The last one
holds all that changed, as a worker's last. A service has nine series: four strata, one
release beside its predecessor, as in ``bench.throughput``. Five hundred services are
warmed up; more are copies of them that get events of their own from then on.
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import numpy as np

from bench.recovery import Left, copied, renamed, through_kafka
from bench.throughput import START_MS, WINDOW_MS, rules
from detector import state
from detector.blocks import scope_of
from detector.engine import Partition
from detector.events import EVERY_SERVICE
from detector.records import LogRecord
from detector.steps import STEPS_MAX
from streams.core import Core, DetectorCores
from streams.packs import Packs, unpack

SERIES_OF_SERVICE = 9
DEPLOY_AT = 2
WARM_WINDOWS = 5
RARE = 100
WARMED = 500
ROUNDS = {20_100: STEPS_MAX + 1, 200_000: 6}
"""Windows between snapshots of so many series; of more, two."""
STRATA = [{"os": os, "region": region} for os in ("ios", "android") for region in "ab"]
Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """CPU seconds of a piece of work, and what it gave."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def name_of(service: int) -> str:
    """Name of a service: copies share the last part."""
    return f"copy-{service // WARMED}-service-{service % WARMED}"


@dataclass
class Cost:
    """CPU and bytes of snapshots, and the series that had changed."""

    cpu_s: float = 0.0
    stored: int = 0
    series: int = 0

    def per_series(self) -> str:
        """Bytes a series, and seconds for 100,000 of them."""
        per_100k_s = self.cpu_s / self.series * 100_000
        return f"{self.stored / self.series:.0f} | {per_100k_s:.2f}"


@dataclass
class Store:
    """A partition of the core and the packs its snapshots leave."""

    core: Core
    packs: Packs = field(default_factory=Packs)
    stored: dict[str, bytes] = field(default_factory=dict)

    def snapshot(
        self, cost: Cost, series: int, *, whole: bool = False, everything: bool = False
    ) -> None:
        """Write as a lane does, ``everything`` at its end, and add up what it cost."""

        def write() -> dict[str, bytes | None]:
            due = set() if whole else self.packs.due()
            shards: dict[str, bytes | None] = (
                dict(self.core.all_shards())
                if whole
                else self.core.dirty_shards(due, everything=everything)
            )
            self.core.mark_clean()
            return self.packs.pack(shards, whole=whole, due=due)

        cpu_s, found = timed(write)
        for name, blob in found.items():
            if blob is None:
                del self.stored[name]
            else:
                self.stored[name] = blob
                cost.stored += len(blob)
        cost.cpu_s += cpu_s
        cost.series += series


class Fleet:
    """Services with a release each, fed a window at a time."""

    def __init__(self, services: int) -> None:
        self.core = Core(Partition(0, rules()))
        self._rng = np.random.default_rng(services)
        self._window = 0
        for _ in range(WARM_WINDOWS):
            self.count(range(min(services, WARMED)))
            self.tick()
        if services > WARMED:
            self._copy(services)

    def _copy(self, services: int) -> None:
        """Have more services, that went through the same so far."""
        blocks: dict[str, bytes] = {}
        for name, block in state.all_blocks(self.core.partition).items():
            if "/" not in name:
                blocks[name] = block
                continue
            number = int(scope_of(name).service.rpartition("-")[2])
            for copy in range(number, services, WARMED):
                other = name.replace(name_of(number), name_of(copy))
                blocks[other] = renamed(other, block, name_of(copy))
        cores = DetectorCores(rules(), "hypercare.events")
        self.core = cores.restore(0, blocks, self.core.next_offset)

    def count(self, chosen: Iterable[int]) -> None:
        """One more window of events of some services, not closed yet."""
        end_ms = START_MS + (self._window + 1) * WINDOW_MS
        for service in chosen:
            events = msgspec.json.encode(self._events(name_of(service)))
            offset = self.core.next_offset
            record = LogRecord(offset, end_ms + 500, b"k", events)
            self.core.apply([record])
        self._window += 1

    def tick(self, *names: str) -> float:
        """CPU seconds of closing the last window of some services, or of all."""
        ts = START_MS + self._window * WINDOW_MS + 20_000
        events = [
            {"kind": "tick", "ts": ts, "service": name}
            for name in names or (EVERY_SERVICE,)
        ]
        value = msgspec.json.encode(events)
        record = LogRecord(self.core.next_offset, ts, b"k", value)
        return timed(lambda: self.core.apply([record]))[0]

    def _events(self, service: str) -> list[object]:
        common = {"ts": START_MS + self._window * WINDOW_MS, "service": service}
        events: list[object] = []
        if self._window == DEPLOY_AT:
            events.append({**common, "kind": "deploy", "release": "2"})
        for release, mean in (("1", 160), ("2", 40)):
            if release == "2" and self._window < DEPLOY_AT:
                continue
            sessions = self._rng.poisson(mean, len(STRATA)).tolist()
            failed = self._rng.poisson(mean / 100, len(STRATA)).tolist()
            for attrs, some, bad in zip(STRATA, sessions, failed, strict=True):
                each = {**common, "release": release, "window_s": 10, "attrs": attrs}
                events.append(
                    {**each, "kind": "usage", "count": some, "sessions": some}
                )
                if bad:
                    error = {"kind": "error", "signature": "KeyError: price"}
                    events.append({**each, **error, "count": bad, "sessions": bad})
        return events


@dataclass
class Measured:
    """All figures of one size."""

    series: int
    tick_s: float
    first: Cost
    closed: Cost
    opened: Cost
    rare: Cost
    last: Cost
    stored: int
    packs: int
    restore_s: float
    peak_mb: int

    def line(self) -> str:
        """A line of the table."""
        cells = [
            f"{self.series:,}",
            f"{self.tick_s:.2f}",
            self.first.per_series(),
            self.closed.per_series(),
            self.opened.per_series(),
            self.rare.per_series(),
            self.last.per_series(),
            f"{self.stored / 1e6:.1f}",
            str(self.packs),
            f"{self.restore_s:.2f}",
            str(self.peak_mb),
        ]
        return "| " + " | ".join(cells) + " |"


HEAD = """\
| series | tick s | whole B | s/100k | closed B | s/100k | open B | s/100k \
| 1 in 100 B | s/100k | last B | s/100k | stored MB | packs | restore s | peak MB |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"""


def measure(services: int) -> tuple[Measured, Store]:
    """Let a fleet close windows between snapshots."""
    fleet = Fleet(services)
    everyone = range(services)
    store = Store(fleet.core)
    series = len(fleet.core.partition.rows)
    first, closed, opened, rare, last = (Cost() for _ in range(5))
    store.snapshot(first, series, whole=True)
    ticks = []
    # Few are enough: which rows are written whole is spread over the windows.
    rounds = next((n for most, n in ROUNDS.items() if series <= most), 2)
    for _ in range(rounds):
        fleet.count(everyone)
        store.snapshot(opened, series)
        ticks.append(fleet.tick())
        store.snapshot(closed, series)
    store.snapshot(Cost(), series, everything=True)
    for turn in range(rounds):
        some = range(turn % RARE, services, RARE)
        fleet.count(some)
        fleet.tick(*(name_of(service) for service in some))
        store.snapshot(rare, len(some) * SERIES_OF_SERVICE)
    fleet.count(everyone)
    ticks.append(fleet.tick())
    store.snapshot(last, series, everything=True)
    found = Measured(
        series,
        float(np.median(ticks)),
        *(first, closed, opened, rare, last),
        sum(map(len, store.stored.values())),
        len(store.stored),
        restored_s(store),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    )
    return found, store


def restored_s(store: Store) -> float:
    """CPU seconds from the packs to a partition that can be fed."""
    offset = store.core.next_offset
    cores = DetectorCores(rules(), "hypercare.events")
    cpu_s, core = timed(lambda: cores.restore(0, unpack(store.stored), offset))
    same = cores.restore(0, state.all_blocks(store.core.partition), offset)
    if state.all_blocks(core.partition) != state.all_blocks(same.partition):
        raise RuntimeError("what was restored is not what was written")
    return cpu_s


def sizes(text: str) -> list[int]:
    """Numbers of series: ``1k,10k`` or ``1000,10000``."""
    return [int(part.replace("k", "000")) for part in text.split(",")]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=sizes, default=[1_000, 10_000])
    parser.add_argument("--kafka", action="store_true")
    parser.add_argument("--copies", type=int, default=1)
    asked = parser.parse_args()
    print(HEAD)
    every = []
    for series in asked.series:
        measured, store = measure(-(-series // SERIES_OF_SERVICE))
        print(measured.line(), flush=True)
        left = Left(measured.series, store.core.next_offset, dict(store.stored))
        every.append(copied(left, asked.copies))
        # A worker that takes over has no such heap for the collector to go through.
        del store
        gc.collect()
    if asked.kafka:
        print()
        for line in through_kafka(every):
            print(line, flush=True)


if __name__ == "__main__":
    main()
