"""Prometheus metrics, rendered from views of the state and never kept beside it.

What is no longer in the state is no longer rendered, so a retired release or a
revoked partition leaves no series behind. Each partition's view is taken in the event
loop in one go, with a turn for others between two of them; views are plain values, and
rendering them can happen in any thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from detector.view import PartitionView
from streams.families import (
    RulesStatus,
    Snapshot,
    release_families,
    self_families,
    source_families,
)
from streams.metrictable import METRICS, PREFIX
from streams.progress import Counters, LaneProgress

FRESH_S = 1.0
"""Views this young are given again: scrapers can not make the loop busy."""

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Where the numbers come from; every callable answers at once.

    Parameters
    ----------
    views : callable
        One view per partition held, of ``detector.view.partition_view``, each taken
        when it is asked for.
    lanes : callable
        Progress of every assigned partition.
    counters : Counters
        Totals of this process.
    rules : callable
        The state of the rule file.
    now_ms, monotonic_s : callable
        Clocks: for the age of records, and for the age of a view.
    """

    views: Callable[[], Iterable[PartitionView]]
    lanes: Callable[[], Sequence[LaneProgress]]
    counters: Counters
    rules: Callable[[], RulesStatus]
    now_ms: Callable[[], int]
    monotonic_s: Callable[[], float]


@dataclass(slots=True)
class _Page:
    """A snapshot and, by content type, what was rendered of it."""

    snapshot: Snapshot = field(default_factory=Snapshot)
    taken_s: float | None = None
    rendered: dict[str, bytes] = field(default_factory=dict)


class Metrics(Collector):
    """All metrics of one worker, in a registry of their own.

    Parameters
    ----------
    readings : Readings
        Where the numbers come from.
    """

    def __init__(self, readings: Readings) -> None:
        self.readings = readings
        self._page = _Page()
        self._taking = asyncio.Lock()
        self._ticks = _histogram("tick_duration_seconds")
        self._stalls = _histogram("loop_stall_seconds")
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)

    def observe_tick(self, seconds: float) -> None:
        """Note how long one round of ticks took."""
        self._ticks.observe(seconds)

    def observe_stall(self, seconds: float) -> None:
        """Note how late the event loop woke a timer."""
        self._stalls.observe(seconds)

    async def snapshot(self) -> Snapshot:
        """Everything as of now, or of less than ``FRESH_S`` ago."""
        async with self._taking:
            now_s = self.readings.monotonic_s()
            page = self._page
            if page.taken_s is None or now_s - page.taken_s >= FRESH_S:
                self._page = page = _Page(await self._take(), now_s)
            return page.snapshot

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The page of the newest snapshot and its content type; any thread."""
        encoder, content_type = choose_encoder(accept)
        page = self._page
        body = page.rendered.get(content_type)
        if body is None:
            body = page.rendered[content_type] = encoder(self.registry)
        return body, content_type

    def collect(self) -> Iterator[Family]:
        """Families of the newest snapshot, for prometheus_client."""
        snapshot = self._page.snapshot
        yield from release_families(snapshot)
        yield from source_families(snapshot)
        yield from self_families(snapshot)
        yield from self._ticks.collect()
        yield from self._stalls.collect()

    async def _take(self) -> Snapshot:
        readings = self.readings
        views = []
        for view in readings.views():
            views.append(view)
            # Thousands of releases take long: nobody waits for all partitions' ones.
            await asyncio.sleep(0)
        return Snapshot(
            views=tuple(views),
            lanes=tuple(readings.lanes()),
            misrouted=readings.counters.misrouted,
            ingress=tuple(readings.counters.ingress.items()),
            refusing=readings.counters.refusing,
            rules=readings.rules(),
            now_ms=readings.now_ms(),
        )


def _histogram(name: str) -> Histogram:
    return Histogram(
        PREFIX + name, METRICS[name].help, registry=None, buckets=BUCKETS_S
    )


__all__ = ["Metrics", "Readings", "RulesStatus", "Snapshot"]
