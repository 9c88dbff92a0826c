"""How fast are aggregates read and counted, in groups and one by one?

Run ``python -m bench.lines``. Prints one JSON object. Two logs: what hundreds of
instances send of a window each, and what three combiners write of the single events
of a few services. Each is read in groups, line by line, and by a plain loop that
decodes with msgspec, counts by series and window and leaves out copies. Ratios are of
processor time, medians of alternating rounds; windows are closed and judged.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import msgspec
import numpy as np

from bench.kafka.workloads import WORKLOADS, records
from bench.plain import PlainCount
from bench.throughput import START_MS, WINDOW_MS, rules, shop
from detector.combiner import Combiner
from detector.engine import Partition
from detector.records import LogRecord

ROUNDS = 3
FETCH_RECORDS = 100
COMBINERS = 3
SERVICES = 4
WINDOWS = 30
SESSIONS = 1_500
"""Sessions of a service that start in a window and come to one combiner."""

Log = list[LogRecord]


def of_instances() -> list[Log]:
    """The log of the comparison on Kafka, partition by partition."""
    logs: defaultdict[int, Log] = defaultdict(list)
    for one in records(WORKLOADS[-1], START_MS):
        log = logs[one.partition]
        log.append(LogRecord(len(log), one.timestamp_ms, one.key, one.value))
    return list(logs.values())


def of_combiners() -> list[Log]:
    """What combiners write, each with sessions of its own, in order of time."""
    found: list[tuple[int, bytes, bytes]] = []
    for number in range(COMBINERS):
        combiner = Combiner(number, b"a key of the benchmark")
        rng = np.random.default_rng(number)
        sources = [
            replace(shop(f"hot-{i}"), sessions_per_window=SESSIONS)
            for i in range(SERVICES)
        ]
        for index in range(WINDOWS):
            ts = START_MS + index * WINDOW_MS
            drawn = [[*one.events(rng, ts, index)] for one in sources]
            for events in drawn:
                for event in events:
                    event |= {"duration_ms": 40 + event["ts"] % 700}
                    if event["kind"] == "error":
                        del event["duration_ms"]
            arrival_ms = ts + WINDOW_MS + 10 * number
            batch = [
                LogRecord(combiner.next_offset + i, arrival_ms, None, value)
                for i, value in enumerate(map(msgspec.json.encode, drawn))
            ]
            for output in combiner.apply(batch).records:
                key = output.key.encode()
                found.append((arrival_ms, key, output.value or b""))
    found.sort(key=lambda one: one[0])
    return [[LogRecord(i, *one) for i, one in enumerate(found)]]


def apply(logs: Sequence[Log], *, in_groups: bool) -> None:
    """All logs through the core."""
    for number, log in enumerate(logs):
        partition = Partition(number, rules())
        partition.in_groups = in_groups
        for begin in range(0, len(log), FETCH_RECORDS):
            partition.apply(log[begin : begin + FETCH_RECORDS])


def plain(logs: Sequence[Log]) -> int:
    """The least that must be done; gives how many lines there are."""
    lines = 0
    for log in logs:
        count = PlainCount(ids=True, sessions=False)
        for begin in range(0, len(log), FETCH_RECORDS):
            count.add([one.value for one in log[begin : begin + FETCH_RECORDS]])
        lines += count.events
    return lines


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def compare(logs: Sequence[Log]) -> dict[str, float]:
    """Lines a second, and the ratios of a round."""
    lines = plain(logs)
    grouped, alone, bare = [], [], []
    for _ in range(ROUNDS):
        grouped.append(seconds(partial(apply, logs, in_groups=True)))
        alone.append(seconds(partial(apply, logs, in_groups=False)))
        bare.append(seconds(partial(plain, logs)))
    pairs = list(zip(grouped, alone, bare, strict=True))
    return {
        "lines": lines,
        "lines_per_s": round(lines / statistics.median(grouped)),
        "one_by_one_per_s": round(lines / statistics.median(alone)),
        "times_one_by_one": round(statistics.median(a / g for g, a, _ in pairs), 1),
        "of_plain": round(statistics.median(b / g for g, _, b in pairs), 2),
    }


def main() -> None:
    """Measure both logs."""
    found = {
        "200 instances a service": compare(of_instances()),
        "three combiners": compare(of_combiners()),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
