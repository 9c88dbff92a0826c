"""Hypercare as a contestant: the worker itself, and one whose core only counts."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from faust.types import TP

from bench.kafka.contest import Entry
from bench.kafka.meter import Meter
from bench.plain import WINDOW_MS
from detector.groups.columns import Columns
from detector.records import LogRecord, Outputs
from streams.app import create_app
from streams.lane import Lane
from streams.settings import Settings


class Counting:
    """Reads as the detector does and counts by shape and window, nothing else."""

    def __init__(self) -> None:
        self.next_offset = 0
        self.counts: Counter[tuple[Any, int]] = Counter()

    @property
    def resume_offset(self) -> int:
        """Nothing is kept that would have to be read again."""
        return self.next_offset

    def apply(self, records: Sequence[LogRecord]) -> Outputs:
        """Count the light events of some records."""
        columns = Columns(records, 0)
        codes = columns.end // WINDOW_MS * len(columns.shapes) + columns.shape
        found = np.unique(codes, return_counts=True)
        for code, count in zip(*(array.tolist() for array in found), strict=True):
            window, shape = divmod(code, len(columns.shapes))
            self.counts[id(columns.shapes[shape]), window] += count
        self.next_offset = records[-1].offset + 1
        return Outputs()

    def all_shards(self) -> dict[str, bytes]:
        """Nothing is kept."""
        return {}

    def dirty_shards(
        self, also: Collection[str] = (), *, everything: bool = False
    ) -> dict[str, bytes | None]:
        """Nothing is kept."""
        return {}

    def mark_clean(self) -> None:
        """Nothing is kept."""

    def wants_tick(self, now_ms: int) -> bool:
        """Nothing is ever open."""
        return False


class CountingCores:
    """Makes cores that only count."""

    def new(self, partition: int) -> Counting:
        """A core that has counted nothing."""
        return Counting()

    def restore(
        self, partition: int, shards: Mapping[str, bytes], next_offset: int
    ) -> Counting:
        """A core that has counted nothing either."""
        core = Counting()
        core.next_offset = next_offset
        return core


def run(entry: Entry, *, detection: bool) -> None:
    """Be a worker until everything is applied."""
    settings = Settings(
        kafka=entry.bootstrap,
        prefix=entry.prefix,
        group=entry.group,
        demo=True,
        web_port=0,
    )
    app = create_app(settings, None if detection else CountingCores())
    meter = Meter()
    _time_steps(meter)
    lanes, taken = app.lanes, app.lanes.on_records

    async def metered(tp: TP, records: list[LogRecord], highwater: int | None) -> None:
        meter.begin()
        await taken(tp, records, highwater)
        if all(
            partition in lanes.lanes and lanes.lanes[partition].next_offset >= end
            for partition, end in entry.ends.items()
        ):
            meter.end(entry.events)

    lanes.on_records = metered  # type: ignore[method-assign]
    sys.argv = ["faust", "worker", "-l", os.environ.get("BENCH_LOG", "warn")]
    app.main()


def _time_steps(meter: Meter) -> None:
    """Note the longest step, for which no other task of the loop runs.

    In processor time of its thread: what others do on the machine is not its own.
    """
    apply = Lane.apply

    def timed(lane: Lane, records: Sequence[LogRecord]) -> None:
        began = time.thread_time()
        apply(lane, records)
        took = time.thread_time() - began
        meter.longest_step_s = max(meter.longest_step_s, took)

    Lane.apply = timed  # type: ignore[method-assign]
