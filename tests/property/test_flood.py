"""Made-up names by the thousand: memory stays bounded, real verdicts unchanged.

A scanner, a broken build or a test environment can send any number of release and
service names. What they may cost is bounded by design: 64 releases per service,
4 of them without real usage, 20,000 services per partition, 10 releases per service
in labels.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest

from detector import state
from detector.engine import Partition
from detector.records import LogRecord
from detector.releases import RELEASES_MAX
from detector.simulate import Shop, constant, ramp
from detector.view import partition_view
from streams.families import RulesStatus
from streams.metrics import Metrics, Readings
from streams.progress import Counters
from tests.unit.detector.traffic import START_MS, Event, Log, at, rules

RELEASES = int(os.environ.get("FLOOD_RELEASES", "30000"))
"""100,000 take a minute and a half; docs/operations.md has their figures."""

SERVICES = RELEASES // 20
WINDOWS = 100
BOOK = rules(
    "persistence_s: 30",
    "hypercare: {min_hours: 0.0, min_exposure: 100}",
    strata="[{attr: os}, {attr: region}]",
)
RSS_RISE_MAX_MB = 400
STATE_MAX_BYTES = 32 * 1024 * 1024
SERIES_MAX = 5_000


def shops() -> list[Shop]:
    """Two services that must be judged as if they were alone."""
    share = ramp([(12, 0.3)])
    return [
        Shop(service="bad", harm=constant(6.0), weight=share),
        Shop(service="well", weight=share),
    ]


def real(log: Log, index: int, streams: list[Iterator[list[Event]]]) -> None:
    """Add one window of the real services."""
    for place, stream in enumerate(streams):
        log.add(at(index + 1) + 100 * place, *next(stream))


def made_up(index: int) -> list[Event]:
    """One window's share of the made-up names, half of them on a real service."""
    names = RELEASES // WINDOWS
    services = SERVICES // WINDOWS
    base: Event = {"kind": "usage", "ts": at(index), "window_s": 10}
    events = [
        {**base, "service": service, "release": f"9.{index}.{n}", "sessions": 1}
        for n in range(names // 2)
        for service in ("scanner", "bad")
    ]
    events += [
        {**base, "service": f"made-up-{index}-{n}", "release": "1.0", "sessions": 1}
        for n in range(services)
    ]
    return events


def log_of(*, flooded: bool) -> list[LogRecord]:
    """The real services' log, alone or in the middle of the flood."""
    rng = np.random.default_rng(7)
    streams = [shop.windows(rng, START_MS, WINDOWS) for shop in shops()]
    log = Log()
    for index in range(WINDOWS):
        real(log, index, streams)
        if flooded:
            events = iter(made_up(index))
            while batch := list(islice(events, 500)):
                log.add(at(index + 1) + 500, *batch)
    return log.records


def decisions(partition: Partition, log: list[LogRecord]) -> list[bytes]:
    """Everything said of the real services, without offsets: those must differ."""
    said = []
    for output in partition.apply(log).records:
        if output.topic in ("verdicts", "recommendations"):
            body = json.loads(output.value)
            body = {k: v for k, v in body.items() if "offset" not in k}
            if body["service"] in ("bad", "well"):
                said.append(json.dumps(body, sort_keys=True).encode())
    return said


def rss_mb() -> float:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.slow
@pytest.mark.fault("16")
def test_made_up_names_change_nothing() -> None:
    """Release names by the thousand, and services: real services' decisions are the
    same bytes, memory, state and metric series stay within their bounds."""
    alone = decisions(Partition(0, BOOK), log_of(flooded=False))
    flood = log_of(flooded=True)
    before_mb = rss_mb()
    partition = Partition(0, BOOK)
    assert decisions(partition, flood) == alone
    assert any(b'"rollback"' in line for line in alone)
    rise_mb = rss_mb() - before_mb
    blocks = state.all_blocks(partition)
    size = sum(map(len, blocks.values()))
    page = page_of(partition)
    series = sum(not line.startswith(b"#") for line in page.splitlines())
    print(f"rss +{rise_mb:.0f} MB, state {size:,} bytes, {series:,} series")  # noqa: T201
    scopes = partition.scopes.values()
    assert max(len(scope.registry.releases) for scope in scopes) <= RELEASES_MAX
    assert rise_mb < RSS_RISE_MAX_MB
    assert size < STATE_MAX_BYTES
    assert series < SERIES_MAX


def page_of(partition: Partition) -> bytes:
    """The metrics page of this one partition."""
    metrics = Metrics(
        Readings(
            views=lambda: [partition_view(partition)],
            lanes=list,
            counters=Counters(),
            rules=lambda: RulesStatus(1, True),
            now_ms=lambda: at(WINDOWS),
            monotonic_s=lambda: 0.0,
        )
    )
    asyncio.run(metrics.snapshot())
    return metrics.render()[0]
