"""What does a service with little traffic cost the core, by service and window?

Run ``python -m bench.thin``: the log of the workload "tiny services" of
``bench.kafka``, one partition of it, without Kafka, in slices as a worker takes them.
The core and a plain loop of msgspec and a dict take turns; processor time, medians.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from functools import partial

from bench.kafka.workloads import WORKLOADS, Workload, records
from bench.plain import PlainCount
from bench.throughput import START_MS
from detector.engine import Partition
from detector.records import LogRecord
from detector.rulefile import RuleSet, load_rules
from streams.rulesdata import DEFAULT_RULES, default_rules_text

TINY = next(load for load in WORKLOADS if "tiny" in load.name)
SLICE_RECORDS = 30
"""About as many as a worker applies in its 25 ms."""


def log_of(load: Workload) -> list[LogRecord]:
    """The first partition of a workload's log."""
    found: list[LogRecord] = []
    for record in records(load, START_MS):
        if record.partition == 0:
            value = LogRecord(len(found), record.timestamp_ms, record.key, record.value)
            found.append(value)
    return found


def apply(log: list[LogRecord], rules: RuleSet) -> Partition:
    """Take a log slice by slice."""
    partition = Partition(0, rules)
    for begin in range(0, len(log), SLICE_RECORDS):
        partition.apply(log[begin : begin + SLICE_RECORDS])
    return partition


def plain(log: list[LogRecord]) -> int:
    """Only decode and count; gives the number of events."""
    counting = PlainCount()
    counting.add(record.value for record in log)
    return counting.events


def cpu_s(work: Callable[[], object]) -> float:
    """Processor time of some work."""
    gc.collect()
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main() -> None:
    """Measure the core beside the plain loop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    log = log_of(TINY)
    rules = load_rules(default_rules_text(), source=DEFAULT_RULES)
    closed = apply(log, rules).counts["windows_closed"]
    events = plain(log)
    ours, bare = [], []
    for _ in range(rounds):
        ours.append(cpu_s(partial(apply, log, rules)))
        bare.append(cpu_s(partial(plain, log)))
    mine, theirs = statistics.median(ours), statistics.median(bare)
    print(
        f"{events:,} events, {closed} windows closed; medians of {rounds} rounds\n"
        f"core: {closed / mine:,.0f} windows/s, {events / mine:,.0f} events/s, "
        f"{mine / closed * 1000:.2f} ms a window with its events\n"
        f"plain loop: {events / theirs:,.0f} events/s; the core takes "
        f"{mine / theirs:.1f} times as long"
    )


if __name__ == "__main__":
    main()
