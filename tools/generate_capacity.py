"""Write docs/capacity.md from the measured slopes; with --check only compare.

Usage: python tools/generate_capacity.py [--check]
Exit code 1 with --check when the page differs from what the slopes say.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from streams.capacity.model import (  # noqa: E402
    BUSY_MAX,
    COMPACTION,
    MEMORY_SPARE,
    PARTITIONS_PER_WORKER,
    Measured,
    Traffic,
    event_us,
    hottest_limit,
    loads,
    plan,
    read_slopes,
)

PAGE = ROOT / "docs" / "capacity.md"

INTRODUCTION = """\
# Capacity

Written by `tools/generate_capacity.py` from `streams/capacity/slopes.json`; measured
again with `{command}`. `hypercare capacity` answers for other
traffic, with `--measure` for your own machine.

    hypercare capacity --events 50000 --shape array --services 200 --hottest 8000

## How it is reckoned

Measured on {machine}, commit {commit}. What a worker does is
the sum of three parts: events, closed windows, snapshots. Cores are planned {busy:.0%}
busy, so that an outage can be caught up with; a worker is one core. At least
{per_worker} partitions go to each worker. Memory is what the objects of its share
add up to, as if one worker were gone, times {spare:g}, and the bare process. The state
topic holds its newest records {compaction:g} times and a segment a partition.

A service is in one partition, so one core bears it: that is the limit in the tables.
Beyond it senders send aggregates, or
[combiners](streaming.md#hot-services-combiners) do.

## Slopes

Processor time is the least of several rounds; other work on the machine adds to it.

"""

NAMES = {
    "single_us": ("one event a record, with id and session", "us"),
    "array_us": ("an event in an array of 100, with id and session", "us"),
    "aggregate_us": ("an aggregate", "us"),
    "combined_us": ("an event in a combiner", "us"),
    "record_us": ("a record beside its events: fetch, hand over", "us"),
    "window_us": ("the close of a service's window", "us"),
    "series_us": ("and of each series in it", "us"),
    "changed_us": ("writing a changed service into a snapshot", "us"),
    "changed_series_us": ("and each series of it", "us"),
    "changed_bytes": ("packed: a changed service", "bytes"),
    "changed_series_bytes": ("packed: a series of it", "bytes"),
    "snapshot_us_per_kb": ("encoding a kilobyte of the past", "us"),
    "process_bytes": ("memory: a worker at rest", "bytes"),
    "service_bytes": ("memory: a service", "bytes"),
    "release_bytes": ("memory: a live release", "bytes"),
    "series_bytes": ("memory: a series", "bytes"),
    "cell_day_bytes": ("memory: a day of the past, a release and segment", "bytes"),
    "id_bytes": ("memory: an id while its window is open", "bytes"),
    "service_state_bytes": ("whole snapshot: a service", "bytes"),
    "series_state_bytes": ("whole snapshot: a series", "bytes"),
    "cell_day_state_bytes": ("whole snapshot: a day of the past", "bytes"),
    "single_log_bytes": ("log: a single event", "bytes"),
    "array_log_bytes": ("log: an event of an array", "bytes"),
    "aggregate_log_bytes": ("log: an aggregate", "bytes"),
}

CASES = (
    Traffic(events_per_s=1_000, shape="single", services=20),
    Traffic(events_per_s=10_000, shape="single", services=100),
    Traffic(events_per_s=10_000, shape="array", services=100),
    Traffic(events_per_s=50_000, shape="array", services=200),
    Traffic(events_per_s=100_000, shape="array", services=50, hottest_per_s=80_000),
    Traffic(events_per_s=500, shape="aggregate", services=100),
    Traffic(events_per_s=5_000, shape="aggregate", services=1_000),
    Traffic(events_per_s=5_000, shape="aggregate", services=1_000, segments=16),
)

PACED = Traffic(events_per_s=900, shape="aggregate", services=500, days=0)
"""What `deploy/measure_worker.py` sends to a worker for the resource requests."""

LIMITS = """
A worker that follows live traffic takes more than one that reads a backlog: it fetches
few records at a time and has its own upkeep. With 500 services and 600 to 1,200
aggregates a second a worker took 0.36 to 0.74 cores ([deploy.md](deploy.md)); the model
says {paced:.2f}. Plan small installations by that page and large ones by this one.

## What it does not know

Compression of the log, time of the brokers, network, and how uneven services are spread
over partitions. Feedback, funnels and durations cost more than plain events. Slopes are
those of one machine; ratios carry over better than figures.
"""


def table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    names = list(head)
    rows = [names, ["---"] * len(names), *map(list, lines)]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def slopes_table(measured: Measured) -> str:
    """What one more of something costs."""
    rows = []
    for name, (words, unit) in NAMES.items():
        value = getattr(measured.slopes, name)
        rows.append((words, f"{value:,.1f}" if value < 100 else f"{value:,.0f}", unit))
    return table(("of", "measured", "unit"), rows)


def plans_table(measured: Measured) -> str:
    """What some traffics need."""
    head = (
        "events/s", "shape", "services", "segments", "cores", "workers",
        "combiners", "partitions", "MB a worker", "snapshots MB/s", "bottleneck",
    )  # fmt: skip
    rows = []
    for case in CASES:
        found = plan(case, measured.slopes)
        hot = f" ({case.hottest_per_s:,.0f} of one)" if case.hottest_per_s else ""
        rows.append(
            (
                f"{case.events_per_s:,.0f}{hot}",
                case.shape,
                f"{case.services:,}",
                str(case.segments),
                f"{found.cores:.1f}",
                str(found.workers),
                str(found.combiners),
                str(found.partitions),
                f"{found.memory_mb_per_worker:,.0f}",
                f"{found.snapshot_mb_per_s:,.1f}",
                found.bottleneck,
            )
        )
    return table(head, rows)


def limits_table(measured: Measured) -> str:
    """What one service may send."""
    rows = []
    for shape in ("single", "array", "aggregate"):
        traffic = Traffic(events_per_s=1.0, shape=shape, services=1)
        limit = hottest_limit(traffic, measured.slopes)
        each = event_us(measured.slopes, shape)
        rows.append((shape, f"{each:.1f}", f"{limit:,.0f}"))
    return table(("shape", "us an event", "events/s at most"), rows)


def page(measured: Measured) -> str:
    """The whole page."""
    introduction = INTRODUCTION.format(
        command=measured.command,
        machine=measured.machine,
        commit=measured.commit,
        busy=BUSY_MAX,
        per_worker=PARTITIONS_PER_WORKER,
        spare=MEMORY_SPARE,
        compaction=COMPACTION,
    )
    checks = [
        (c.name, f"{c.measured_s:.1f}", f"{c.predicted_s:.1f}", f"{c.error:+.0%}")
        for c in measured.checks
    ]
    head = ("worker on a real Kafka", "measured s", "predicted s", "error")
    return (
        introduction
        + slopes_table(measured)
        + "\n## One service\n\n"
        + limits_table(measured)
        + "\n## Some traffics\n\nTwo releases, windows of 10 s, 16 days of past.\n\n"
        + plans_table(measured)
        + "\n## How well it predicts\n\nProcessor time of a worker in the same run as "
        "the slopes, single events having\ngiven the cost of a record. "
        "One run on a busy machine.\n\n"
        + table(head, checks)
        + LIMITS.format(paced=sum(loads(PACED, measured.slopes).values()))
    )


def main() -> int:
    """Write the page, or compare it."""
    text = page(read_slopes())
    if sys.argv[1:] == ["--check"]:
        same = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text
        if not same:
            print(f"{PAGE.relative_to(ROOT)} differs; run tools/generate_capacity.py")
        return 0 if same else 1
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        PAGE.write_text(text, encoding="utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
