"""How fast is Hypercare beside other ways to read and count the same topics?

Run ``make bench``, or ``python -m bench.kafka`` where the packages of
``requirements/bench.txt`` are. One table; ratios first, of events per second of
processor time, all threads of a process, to the aiokafka loop of the same round.
Contestants take turns, so that whatever else the machine does slows all of them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from bench.kafka import topics
from bench.kafka.contest import (
    AIOKAFKA,
    CONTESTANTS,
    COUNTING,
    HYPERCARE,
    SLOW,
    SLOW_EVENTS_MAX,
    Entry,
)
from bench.kafka.process import Result, ask
from bench.kafka.workloads import WINDOW_MS, WORKLOADS, Workload, records
from streams.kafka_local import LocalKafka, free_ports
from streams.settings import Settings

HEADER = (
    f"{'':26}{'of aiokafka':>12}{'from':>7}{'to':>7}{'events/s/core':>15}"
    f"{'wall':>11}{'peak MB':>9}{'step ms':>9}"
)


def compare(load: Workload, settings: Settings, names: list[str], rounds: int) -> None:
    """Fill a log, let everybody read it in turns, and print the table."""
    start_ms = (int(time.time() * 1000) // WINDOW_MS - load.windows - 1) * WINDOW_MS
    ends, count = topics.fill(settings, records(load, start_ms))
    about = f"{count:,} events, {load.services} services, {load.windows} windows"
    print(f"\n{load.name}: {about}")
    print(HEADER, flush=True)
    found: defaultdict[str, list[Result]] = defaultdict(list)
    for number in range(rounds):
        for name in names:
            if name in (HYPERCARE, COUNTING):
                topics.forget(settings)
            entry = Entry(
                contestant=name,
                bootstrap=settings.kafka,
                prefix=settings.prefix,
                group=f"{settings.prefix}-{names.index(name)}-{number}",
                load=load,
                ends=ends,
                events=count,
                limit=min(count, SLOW_EVENTS_MAX) if name in SLOW else count,
            )
            found[name].append(ask(entry))
    for name in names:
        print(line(name, found[name], found.get(AIOKAFKA, found[name])), flush=True)
    topics.drop(settings)


def line(name: str, own: list[Result], base: list[Result]) -> str:
    """Medians of a contestant, beside the loop of the same rounds."""
    ratios = [a.per_core / b.per_core for a, b in zip(own, base, strict=True)]
    rate = statistics.median(r.per_core for r in own)
    wall = statistics.median(r.events / r.wall_s for r in own)
    peak = statistics.median(r.peak_mb for r in own)
    step = max(r.longest_step_ms for r in own)
    return (
        f"{name:26}{statistics.median(ratios):12.2f}{min(ratios):7.2f}{max(ratios):7.2f}"
        f"{rate:15,.0f}{wall:11,.0f}{peak:9.0f}" + (f"{step:9.0f}" if step else "")
    )


def main() -> None:
    """Compare on all workloads."""
    parser = argparse.ArgumentParser(description="Hypercare beside its rivals.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--load", default="", help="numbers of workloads, from 0")
    parser.add_argument("--who", default="", help="names of contestants")
    given = parser.parse_args()
    names = given.who.split(",") if given.who else list(CONTESTANTS)
    chosen = [int(n) for n in given.load.split(",")] if given.load else WORKLOADS
    loads = [one if isinstance(one, Workload) else WORKLOADS[one] for one in chosen]
    with (
        tempfile.TemporaryDirectory(prefix="hypercare-bench-") as folder,
        LocalKafka(Path(folder), port=free_ports(2), tied=True) as kafka,
    ):
        for number, load in enumerate(loads):
            settings = Settings(
                kafka=f"127.0.0.1:{kafka.port}", prefix=f"bench{number}", demo=True
            )
            compare(load, settings, names, given.rounds)


if __name__ == "__main__":
    sys.exit(main())
