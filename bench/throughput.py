"""How many events and windows a second does the core take, and what does it hold?

Run ``python -m bench.throughput``. Prints one JSON object. Rates are medians of
alternating rounds; each is also given as a ratio to a plain loop of the same run,
which decodes with msgspec and adds to a dict: a slow machine slows both.
``python -m bench.throughput profile`` prints where the time goes instead.
"""

from __future__ import annotations

import cProfile
import gc
import json
import pstats
import statistics
import sys
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice

import msgspec
import numpy as np

from detector import state
from detector.engine import Partition
from detector.events import EVERY_SERVICE, Event
from detector.records import LogRecord
from detector.rulefile import RuleSet, load_rules
from detector.simulate import Record, Shop, ramp

START_MS = 1_767_225_600_000
WINDOW_MS = 10_000
ARRAY = 100
ROUNDS = 5
SERVICES = 500
WARM_WINDOWS = 6
TICKS = 12
RULES = """\
version: 1
rules:
  - name: bench
    strata: [{attr: os}, {attr: region}]
end_of_rules: true
"""


def rules() -> RuleSet:
    """Shipped defaults, four strata: nine series a release."""
    return load_rules(RULES, source="bench")


def shop(service: str = "shop") -> Shop:
    """A release beside its predecessor from the third window on."""
    return Shop(service=service, weight=ramp([(2, 0.3)]))


def packed(windows: Iterable[tuple[int, list[Record]]]) -> list[LogRecord]:
    """Arrays of at most 100 events, each with its time of arrival."""
    found: list[LogRecord] = []
    for arrival_ms, events in windows:
        for low in range(0, len(events), ARRAY):
            value = msgspec.json.encode(events[low : low + ARRAY])
            found.append(LogRecord(len(found), arrival_ms, b"shop", value))
    return found


def aggregates(count: int) -> list[LogRecord]:
    """Windows of aggregates: 12 to 16 events a window."""
    windows = shop().windows(np.random.default_rng(1), START_MS, count)
    ends = (START_MS + (i + 1) * WINDOW_MS for i in range(count))
    return packed(zip(ends, windows, strict=True))


def singles(count: int) -> list[LogRecord]:
    """The same shop with an event a session, 800 a window."""
    rng = np.random.default_rng(2)
    source = shop()
    found = []
    for index in range(count):
        ts = START_MS + index * WINDOW_MS
        events = list(source.events(rng, ts, index))
        if index == 2:
            events.insert(0, source.deploy(ts, 0.3, "started"))
        found.append((ts + WINDOW_MS, events))
    return packed(found)


def plain(records: Sequence[LogRecord]) -> int:
    """What nobody can do without: decode with msgspec, count in a dict."""
    decode = msgspec.json.Decoder(list[Event] | Event).decode
    counts: dict[tuple[object, ...], float] = defaultdict(float)
    events = 0
    for record in records:
        decoded = decode(record.value or b"")
        for event in decoded if type(decoded) is list else [decoded]:
            attrs = getattr(event, "attrs", None) or {}
            key = (type(event), event.service, *attrs.values())
            counts[key] += getattr(event, "count", None) or 1
            events += 1
    return events


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call, without the collector of garbage."""
    gc.collect()
    gc.disable()
    begun = time.perf_counter()
    work()
    took = time.perf_counter() - begun
    gc.enable()
    return took


def event_rates(records: list[LogRecord]) -> dict[str, float]:
    """Events a second of the core and of the plain loop, and windows closed."""
    ours, bare = [], []
    events = plain(records)
    windows = 0
    for _ in range(ROUNDS):
        partition = Partition(0, rules())
        ours.append(seconds(partial(partition.apply, records)))
        bare.append(seconds(partial(plain, records)))
        windows = partition.counts["windows_closed"]
    mine, theirs = statistics.median(ours), statistics.median(bare)
    return {
        "events": events,
        "events_per_s": round(events / mine),
        "plain_events_per_s": round(events / theirs),
        "times_plain": round(mine / theirs, 1),
        "windows_closed": windows,
        "windows_per_s": round(windows / mine),
    }


class Fleet:
    """Five hundred services, whose windows close at one tick for all of them."""

    def __init__(self, services: int) -> None:
        self.partition = Partition(0, rules())
        rng = np.random.default_rng(3)
        self.sources = [
            shop(f"service-{i}").windows(rng, START_MS, 10_000) for i in range(services)
        ]
        self.index = 0

    def window(self) -> list[LogRecord]:
        """The next window's records, a record a service, and the tick after them."""
        self.index += 1
        end_ms = START_MS + self.index * WINDOW_MS
        tick_ms = end_ms + 20_000
        tick = [{"kind": "tick", "ts": tick_ms, "service": EVERY_SERVICE}]
        values = [next(source) for source in self.sources]
        first = self.partition.next_offset
        return [
            LogRecord(first + i, arrival_ms, None, msgspec.json.encode(events))
            for i, (arrival_ms, events) in enumerate(
                [*((end_ms, events) for events in values), (tick_ms, tick)]
            )
        ]

    def step(self) -> tuple[float, float]:
        """Seconds of counting a window's events, and of closing it at the tick."""
        *records, tick = self.window()
        counting = seconds(lambda: self.partition.apply(records))
        return counting, seconds(lambda: self.partition.apply([tick]))


def one_tick() -> dict[str, float]:
    """Windows closed a second when all services close at one tick."""
    fleet = Fleet(SERVICES)
    for _ in range(WARM_WINDOWS):
        fleet.step()
    before = fleet.partition.counts["windows_closed"]
    ticks = [fleet.step()[1] for _ in range(TICKS)]
    closed = (fleet.partition.counts["windows_closed"] - before) / TICKS
    tick = statistics.median(ticks)
    return {
        "services": SERVICES,
        "windows_per_tick": closed,
        "tick_ms": round(tick * 1000, 1),
        "windows_per_s": round(closed / tick),
    }


def memory() -> dict[str, float]:
    """Bytes a service with nine series holds, alive and in a snapshot."""
    tracemalloc.start()
    fleet = Fleet(0)
    partition = fleet.partition
    records = [
        [
            list(w)
            for w in islice(
                shop(f"s-{i}").windows(np.random.default_rng(i), START_MS, 40), 40
            )
        ]
        for i in range(100)
    ]
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for index in range(40):
        for windows in records:
            value = msgspec.json.encode(windows[index])
            offset = partition.next_offset
            arrival_ms = START_MS + (index + 1) * WINDOW_MS
            partition.apply([LogRecord(offset, arrival_ms, None, value)])
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    blocks = sum(len(block) for block in state.all_blocks(partition).values())
    return {
        "bytes_per_service": round(held / 100),
        "snapshot_bytes_per_service": round(blocks / 100),
    }


def profile() -> None:
    """Where the time goes: one service with aggregates, then many at a tick."""
    for name, records in (("aggregates", aggregates(600)), ("singles", singles(30))):
        partition = Partition(0, rules())
        profiler = cProfile.Profile()
        profiler.runcall(partition.apply, records)
        print(f"\n{name}")
        pstats.Stats(profiler).sort_stats("tottime").print_stats(15)
    fleet = Fleet(SERVICES)
    for _ in range(WARM_WINDOWS):
        fleet.step()
    *records, tick = fleet.window()
    fleet.partition.apply(records)
    profiler = cProfile.Profile()
    profiler.runcall(fleet.partition.apply, [tick])
    print("\none tick")
    pstats.Stats(profiler).sort_stats("tottime").print_stats(15)


def main() -> None:
    """Measure everything."""
    result = {
        "aggregates, one service": event_rates(aggregates(1500)),
        "single events, one service": event_rates(singles(40)),
        "all services at one tick": one_tick(),
        "memory": memory(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    profile() if sys.argv[1:] == ["profile"] else main()
