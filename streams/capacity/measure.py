"""Slopes of this machine: the core on drawn traffic, no Kafka needed.

Times are processor time, the least of several rounds: other work on the machine only
ever adds. What Kafka costs a record is not measured here; it is taken from the shipped
figures in proportion to how much slower or faster this machine is.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np

from detector import state
from detector.combiner import Combiner
from detector.engine import Partition
from detector.records import LogRecord
from detector.steps import STEPS_MAX
from streams.capacity.drawn import (
    DIVIDED,
    WHOLE,
    packed,
    rules,
    window,
    windows,
)
from streams.capacity.model import Slopes
from streams.packs import Packs
from streams.wallclock import process_s

FETCH = 5_000
ROUNDS = 3
FLEET, FLEET_WINDOWS, WARM_WINDOWS = 60, 12, 5
MEMORY_FLEET, MEMORY_WINDOWS = 20, 10
DAY_SERVICES, DAY_STEP_MS = 1, 300_000
IDS = 20_000
KEY = b"0123456789abcdef"

Say = Callable[[str], None]


class Fleet(NamedTuple):
    """Partition of many services that has closed windows."""

    partition: Partition
    closing_us: float
    counting_us: float

    @property
    def series(self) -> float:
        """Series a service has."""
        watches = [
            w for s in self.partition.scopes.values() for w in s.watches.values()
        ]
        return sum(len(w.rows()) for w in watches) / len(self.partition.scopes)

    @property
    def state_bytes(self) -> float:
        """Bytes of the scopes in a snapshot."""
        blocks = state.all_blocks(self.partition)
        return sum(len(b) for n, b in blocks.items() if "/" in n)


def measure(known: Slopes, say: Say) -> Slopes:
    """Measure all slopes but that of a record, which ``known`` brings."""
    say("single events")
    arrays, singles = packed(100), packed(1)
    array_us, array_bytes = _per_event(arrays)
    single_us, single_bytes = _per_event(singles)
    combined_us = _of_combiner(singles)
    say("windows of many services")
    whole, divided = _fleet(WHOLE), _fleet(DIVIDED)
    closing = _line(whole.series, whole.closing_us, divided.series, divided.closing_us)
    say("memory and snapshots")
    held = _memory()
    return Slopes(
        single_us=single_us,
        array_us=array_us,
        aggregate_us=divided.counting_us,
        combined_us=combined_us,
        record_us=known.record_us * array_us / known.array_us,
        window_us=closing.base,
        series_us=closing.slope,
        snapshot_us_per_kb=_snapshot_us_per_kb(divided.partition),
        **_changed(),
        process_bytes=known.process_bytes,
        id_bytes=_id_bytes(),
        single_log_bytes=single_bytes,
        array_log_bytes=array_bytes,
        aggregate_log_bytes=_aggregate_bytes(),
        **held,
    )


class Line(NamedTuple):
    """A straight line through two measured points, never below zero."""

    base: float
    slope: float


def _line(x0: float, y0: float, x1: float, y1: float) -> Line:
    slope = max(0.0, (y1 - y0) / (x1 - x0))
    return Line(max(0.0, y0 - slope * x0), slope)


def best_us(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Processor time of a piece of work in microseconds, the least of some rounds."""
    found = []
    for _ in range(rounds):
        gc.collect()
        begun_s = process_s()
        work()
        found.append(process_s() - begun_s)
    return min(found) * 1e6


def _fetches(records: Sequence[LogRecord]) -> Iterator[Sequence[LogRecord]]:
    cuts = [*range(0, len(records), FETCH), len(records)]
    return (records[low:high] for low, high in pairwise(cuts))


def _per_event(records: Sequence[LogRecord]) -> tuple[float, float]:
    """Microseconds and bytes of one event."""
    events = 0

    def work() -> None:
        nonlocal events
        partition = Partition(0, rules(DIVIDED))
        for fetch in _fetches(records):
            partition.apply(fetch)
        events = partition.counts["counted"]

    took_us = best_us(work)
    size = sum(len(r.value or b"") for r in records)
    return took_us / events, size / events


def _of_combiner(records: Sequence[LogRecord]) -> float:
    """Microseconds of one event in a combiner."""

    def work() -> None:
        combiner = Combiner(0, KEY)
        for fetch in _fetches(records):
            combiner.apply(fetch)

    return best_us(work) / len(records)


def _fleet(strata: str) -> Fleet:
    """Many services, each of whose windows closes at a record of its own.

    Counting is measured where a tick closes all of them apart from the records: what
    a record takes longer without ticks is the close of its service's window.
    """
    _, counted_us, lines = _steps(strata, with_ticks=True)
    partition, whole_us, _ = _steps(strata, with_ticks=False)
    return Fleet(partition, max(0.0, whole_us - counted_us), counted_us / lines)


def _steps(strata: str, *, with_ticks: bool) -> tuple[Partition, float, float]:
    """A fleet after some windows; microseconds and lines of one record."""
    partition = Partition(0, rules(strata))
    source = windows(FLEET, 1)
    took, lines = [], 0
    for index in range(FLEET_WINDOWS):
        records, tick = window(partition.next_offset, index, next(source))
        lines = sum(len(msgspec.json.decode(r.value or b"[]")) for r in records)
        spent = best_us(partial(partition.apply, records), 1)
        if with_ticks:
            partition.apply([tick])
        if index >= WARM_WINDOWS:
            took.append(spent / FLEET)
    return partition, float(np.median(took)), lines / FLEET


def _aggregate_bytes() -> float:
    events = [e for events in next(windows(20, 1)) for e in events]
    return len(msgspec.json.encode(events)) / len(events)


def _memory() -> dict[str, float]:
    """What services, releases, series and days of the past hold, alive and written."""
    bare, bare_state, bare_series = _held(WHOLE, 1)
    many, many_state, many_series = _held(DIVIDED, 1)
    more, _, _ = _held(WHOLE, 4)
    alive = _line(bare_series, bare, many_series, many)
    written = _line(bare_series, bare_state, many_series, many_state)
    release = max(0.0, (more - bare) / 3)
    day, day_state = _cell_day()
    return {
        "service_bytes": max(0.0, alive.base - 2 * release),
        "release_bytes": release,
        "series_bytes": alive.slope,
        "service_state_bytes": written.base,
        "series_state_bytes": written.slope,
        "cell_day_bytes": day,
        "cell_day_state_bytes": day_state,
    }


def _changed() -> dict[str, float]:
    """What a snapshot writes of a service that has changed, and what that takes."""
    whole, divided = _saved(WHOLE), _saved(DIVIDED)
    took = _line(whole.series, whole.us, divided.series, divided.us)
    size = _line(whole.series, whole.stored, divided.series, divided.stored)
    return {
        "changed_us": took.base,
        "changed_series_us": took.slope,
        "changed_bytes": size.base,
        "changed_series_bytes": size.slope,
    }


class Saved(NamedTuple):
    """Series of a service; time and packed bytes of writing it once."""

    series: float
    us: float
    stored: float


def _saved(strata: str) -> Saved:
    """Snapshots of a fleet in which all has changed, after each window, as lanes do."""
    partition, packs = Partition(0, rules(strata)), Packs()
    source = windows(FLEET, 1)
    took_us, stored = [], []
    for index in range(FLEET_WINDOWS + STEPS_MAX + 1):
        records, tick = window(partition.next_offset, index, next(source))
        partition.apply([*records, tick])
        is_whole = index < WARM_WINDOWS
        begun_s = process_s()
        due = set() if is_whole else packs.due()
        shards: dict[str, bytes | None] = (
            dict(state.all_blocks(partition))
            if is_whole
            else state.dirty_blocks(partition, due)
        )
        state.mark_clean(partition, whole=is_whole)
        made = packs.pack(shards, whole=is_whole, due=due)
        if not is_whole:
            took_us.append((process_s() - begun_s) * 1e6 / FLEET)
            stored.append(sum(len(b) for b in made.values() if b) / FLEET)
    series = Fleet(partition, 0.0, 0.0).series
    # The mean, not the least: which rows are written whole is spread over windows.
    return Saved(series, float(np.mean(took_us)), float(np.mean(stored)))


def _alone(strata: str) -> Partition:
    """A partition that shares no memory of texts with others of the process."""
    partition = Partition(0, rules(strata))
    partition.in_groups = False
    return partition


def _held(strata: str, releases: int) -> tuple[float, float, float]:
    """Bytes alive and in a snapshot, and series, of one service of a small fleet."""
    batches = []
    source = windows(MEMORY_FLEET, releases)
    for index in range(MEMORY_WINDOWS):
        records, tick = window(index * (MEMORY_FLEET + 1), index, next(source))
        batches.append([*records, tick])
    partition = _alone(strata)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for batch in batches:
        partition.apply(batch)
    gc.collect()
    alive = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    fleet = Fleet(partition, 0.0, 0.0)
    each = MEMORY_FLEET
    return alive / each, fleet.state_bytes / each, fleet.series


def _cell_day() -> tuple[float, float]:
    """Bytes of one release and segment for one day of the past."""
    steps = 86_400_000 // DAY_STEP_MS
    partition = _alone(DIVIDED)
    source = windows(DAY_SERVICES, 1)
    sizes = []
    tracemalloc.start()
    for index in range(2 * steps):
        found = next(source)
        records, tick = window(partition.next_offset, index, found, DAY_STEP_MS)
        partition.apply([*records, tick])
        if index in (steps - 1, 2 * steps - 1):
            gc.collect()
            alive = tracemalloc.get_traced_memory()[0]
            sizes.append((alive, Fleet(partition, 0.0, 0.0).state_bytes))
    tracemalloc.stop()
    cells = DAY_SERVICES * 2 * 4
    (alive0, state0), (alive1, state1) = sizes
    return max(0.0, alive1 - alive0) / cells, max(0.0, state1 - state0) / cells


def _snapshot_us_per_kb(partition: Partition) -> float:
    """Processor time of encoding a kilobyte of state."""
    size = sum(len(block) for block in state.all_blocks(partition).values())
    return best_us(partial(state.all_blocks, partition)) / size * 1e3


def _id_bytes() -> float:
    """Bytes of one remembered id."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    held = {number << 40 for number in range(1, IDS)}
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return size / len(held)
