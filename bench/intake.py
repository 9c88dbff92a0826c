"""How fast are single events read and counted, beside the least that must be done?

Run ``python -m bench.intake``. Prints one JSON object. Each line is the same log in
runs of one fetch: in groups, event by event, and in a plain loop that decodes with
msgspec and counts by series and window, leaving out sessions seen in that window
where the log has them. Ratios are of processor time, best of alternating rounds:
other work on the machine slows all three.
"""

from __future__ import annotations

import gc
import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np

from bench.plain import WINDOW_MS, PlainCount
from bench.throughput import START_MS, rules, shop
from detector.engine import Partition
from detector.records import LogRecord

WINDOWS = 6
PER_WINDOW = 8_000
SESSIONS = 3_000
"""Distinct sessions of the logs that repeat them, over all windows."""

ROUNDS = 5
FETCH_EVENTS = 10_000
LAG_MS = 200


class Case(NamedTuple):
    """One log: how it is packed, who is named, how many services share it."""

    array: int
    identity: str
    services: int = 1

    @property
    def name(self) -> str:
        """What the line is called."""
        packed = f"arrays of {self.array}" if self.array > 1 else "one event a record"
        return f"{packed}, {self.identity}, {self.services} service(s)"


CASES = (
    Case(100, "no identity"),
    Case(1, "no identity"),
    Case(100, "sessions that repeat"),
    Case(1, "sessions that repeat"),
    Case(100, "ids and sessions"),
    Case(100, "no identity", 50),
)


def events_of(case: Case) -> list[dict[str, Any]]:
    """Events of all services in order of time, a release from the third window on."""
    rng = np.random.default_rng(2)
    per_service = PER_WINDOW / case.services
    sources = [
        replace(shop(f"shop-{i}"), sessions_per_window=per_service)
        for i in range(case.services)
    ]
    found: list[dict[str, Any]] = []
    for index in range(WINDOWS):
        ts = START_MS + index * WINDOW_MS
        window = [e for one in sources for e in one.events(rng, ts, index)]
        window.sort(key=lambda event: int(event["ts"]))
        starts = [one.deploy(ts, 0.3, "started") for one in sources]
        found += (starts if index == 2 else []) + window
    for event in found:
        if event["kind"] == "deploy":
            continue
        if case.identity != "ids and sessions":
            del event["id"]
        if case.identity == "no identity":
            del event["session"]
        elif case.identity == "sessions that repeat":
            event["session"] = f"s{int(event['session'][1:], 16) % SESSIONS:012x}"
    return found


def records_of(case: Case) -> list[LogRecord]:
    """The events in records of one service each, which arrive soon after the last."""
    found: list[LogRecord] = []
    waiting: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events_of(case):
        packed = waiting[event["service"]]
        packed.append(event)
        if len(packed) >= case.array or event["kind"] == "deploy":
            value = msgspec.json.encode(packed if case.array > 1 else event)
            stamp = int(event["ts"]) + LAG_MS
            key = event["service"].encode()
            found.append(LogRecord(len(found), stamp, key, value))
            packed.clear()
    return found


def plain(records: Sequence[LogRecord], case: Case) -> int:
    """Decode, count by series and window, leave out what was seen."""
    ids, sessions = case.identity == "ids and sessions", case.identity != "no identity"
    count = PlainCount(ids=ids, sessions=sessions)
    count.add(record.value for record in records)
    return count.events


def cpu_s(work: Callable[[], object]) -> float:
    """Processor time of one call, without the collector of garbage."""
    gc.collect()
    gc.disable()
    begun = time.process_time()
    work()
    took = time.process_time() - begun
    gc.enable()
    return took


def apply(records: Sequence[LogRecord], case: Case, *, in_groups: bool) -> Partition:
    """All records through a new partition, a fetch at a time."""
    partition = Partition(0, rules())
    partition.in_groups = in_groups
    step = max(1, FETCH_EVENTS // case.array)
    for first in range(0, len(records), step):
        partition.apply(records[first : first + step])
    return partition


def line(case: Case) -> dict[str, float]:
    """Times of one event in microseconds, and ratios."""
    records = records_of(case)
    events = plain(records, case)
    ours, bare, alone = [], [], []
    for round_ in range(ROUNDS):
        ours.append(cpu_s(lambda: apply(records, case, in_groups=True)))
        bare.append(cpu_s(lambda: plain(records, case)))
        if round_ == 0:
            alone.append(cpu_s(lambda: apply(records, case, in_groups=False)))
    mine, least = min(ours), min(bare)
    return {
        "share_of_plain": round(least / mine, 2),
        "times_event_by_event": round(alone[0] / mine, 1),
        "us_per_event": round(mine / events * 1e6, 2),
        "plain_us_per_event": round(least / events * 1e6, 2),
        "windows_closed": apply(records, case, in_groups=True).counts["windows_closed"],
    }


def main() -> None:
    """Measure every case."""
    result = {case.name: line(case) for case in CASES}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
