"""Traffic and measured slopes to what an installation needs: pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import resources
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from detector.turns import SCOPES_MIN, TURNS

Shape = Literal["single", "array", "aggregate"]
SHAPES: tuple[Shape, ...] = ("single", "array", "aggregate")

BUSY_MAX = 0.6
"""Share of a core that is planned with: the rest is for catching up after an outage."""

MEMORY_SPARE = 1.5
"""Resident memory of a process beside what its objects add up to."""

PARTITIONS_PER_WORKER = 3
"""So that a worker more, or less, shifts a part of the load and not half of it."""

PARTITIONS_MAX = 1024
COMPACTION = 2.0
"""A compacted topic holds what is newest and about as much that is not removed yet."""

SEGMENT_BYTES = 16 * 1024 * 1024
SNAPSHOT_S = 2.0
"""Between two snapshots; a service that is heard of meanwhile has changed."""

PAST_OF_TODAY = 0.5
"""Mean part of a day's past that stands in the block of its service."""

ID_KEPT_S = 40.0
"""An id is remembered while its window is open: its width, the grace and some."""

ID_STATE_BYTES = 9.0


class Slopes(Struct, frozen=True, kw_only=True):
    """What one more of something costs.

    Processor time in microseconds, sizes in bytes. ``record_us`` is what a record
    costs beside its events (fetch, hand over), ``combined_us`` an event in a combiner;
    ``window_us`` and ``series_us`` make up the close of a service's window, the
    ``changed`` ones what a snapshot writes of a service that has changed, packed.
    """

    single_us: float
    array_us: float
    aggregate_us: float
    combined_us: float
    record_us: float
    window_us: float
    series_us: float
    changed_us: float
    changed_series_us: float
    changed_bytes: float
    changed_series_bytes: float
    snapshot_us_per_kb: float
    process_bytes: float
    service_bytes: float
    release_bytes: float
    series_bytes: float
    cell_day_bytes: float
    id_bytes: float
    service_state_bytes: float
    series_state_bytes: float
    cell_day_state_bytes: float
    single_log_bytes: float
    array_log_bytes: float
    aggregate_log_bytes: float


class Check(Struct, frozen=True, kw_only=True):
    """What a real worker took, and what the model had said."""

    name: str
    measured_s: float
    predicted_s: float

    @property
    def error(self) -> float:
        """By which share the prediction was too high."""
        return self.predicted_s / self.measured_s - 1


class Measured(Struct, frozen=True, kw_only=True):
    """Slopes, where they come from, and how well they predicted."""

    commit: str
    command: str
    machine: str
    slopes: Slopes
    checks: list[Check] = []


class Traffic(Struct, frozen=True, kw_only=True):
    """What comes in.

    Parameters
    ----------
    events_per_s : float
        Of all services: single events, or aggregates.
    shape : str
        ``single``: one event a record, ``array``: about a hundred, ``aggregate``: a
        sender's own windows.
    services : int
        Services and environments.
    releases : int
        Live releases of a service; one of them is under judgement.
    segments : int
        Segments of a release that are counted apart.
    hottest_per_s : float
        Events of the busiest service.
    window_s : int
        Width of windows.
    days : float
        How long the past is kept, at most 16 days.
    replication : int
        Replicas of topics.
    """

    events_per_s: float
    shape: Shape = "array"
    services: int = 100
    releases: int = 2
    segments: int = 4
    hottest_per_s: float = 0.0
    window_s: int = 10
    days: float = 16.0
    replication: int = 3

    @property
    def hottest(self) -> float:
        """Events a second of the busiest service; the mean where none is named."""
        return self.hottest_per_s or self.events_per_s / self.services

    @property
    def series(self) -> int:
        """Series of a release under judgement: the whole, the segments, their cuts."""
        return 2 * self.segments + 1

    @property
    def cells(self) -> int:
        """Pairs of release and segment whose past is kept, of all services."""
        return self.services * self.releases * self.segments


class Written(NamedTuple):
    """Processor time and bytes of what is written."""

    us: float
    stored: float


class Plan(NamedTuple):
    """What the traffic needs.

    ``hottest_limit_per_s`` is what one service may send at most; ``combiners`` are
    needed where the hottest one sends more. Bandwidths are of one copy.
    """

    cores: float
    workers: int
    partitions: int
    memory_mb_per_worker: float
    state_topic_mb: float
    snapshot_mb_per_s: float
    log_mb_per_s: float
    log_gb_per_day: float
    bottleneck: str
    hottest_limit_per_s: float
    combiners: int
    advice: str
    share_of_core: dict[str, float]


def read_slopes() -> Measured:
    """The slopes that ship with this version."""
    raw = resources.files("streams.capacity").joinpath("slopes.json").read_bytes()
    return msgspec.json.decode(raw, type=Measured)


def event_us(slopes: Slopes, shape: Shape) -> float:
    """Processor time of one event with its share of a record."""
    if shape == "single":
        return slopes.single_us + slopes.record_us
    if shape == "array":
        return slopes.array_us + slopes.record_us / 100
    return slopes.aggregate_us + slopes.record_us / 10


def written_services(services: float, partitions: int) -> float:
    """How many of changed services a snapshot writes: from some on, in turns."""
    each = services / partitions
    return partitions * min(each, max(SCOPES_MIN, each / TURNS))


def written(traffic: Traffic, slopes: Slopes, partitions: int) -> Written:
    """What the snapshots of all partitions write at once when everything changes."""
    services = written_services(traffic.services, partitions)
    past = traffic.releases * traffic.segments * PAST_OF_TODAY
    kept = past * slopes.cell_day_state_bytes
    if traffic.shape != "aggregate":
        kept += traffic.events_per_s / traffic.services * ID_KEPT_S * ID_STATE_BYTES
    size = slopes.changed_bytes + traffic.series * slopes.changed_series_bytes
    took_us = slopes.changed_us + traffic.series * slopes.changed_series_us
    took_us += kept / 1e3 * slopes.snapshot_us_per_kb
    return Written(services * took_us, services * (size + kept))


def loads(traffic: Traffic, slopes: Slopes, partitions: int = 4) -> dict[str, float]:
    """Shares of a core by what they are for."""
    closed_us = slopes.window_us + slopes.series_us * traffic.series
    saved = written(traffic, slopes, partitions)
    return {
        "events": traffic.events_per_s * event_us(slopes, traffic.shape) / 1e6,
        "windows": traffic.services / traffic.window_s * closed_us / 1e6,
        "snapshots": saved.us / SNAPSHOT_S / 1e6,
    }


def _settled(traffic: Traffic, slopes: Slopes) -> tuple[dict[str, float], int]:
    """Loads and partitions that fit each other: more partitions write more."""
    partitions = 0
    wanted = _partitions(1)
    while wanted > partitions:
        partitions = wanted
        share = loads(traffic, slopes, partitions)
        wanted = _partitions(_workers(share))
    return share, partitions


def _workers(share: Mapping[str, float]) -> int:
    return max(1, math.ceil(sum(share.values()) / BUSY_MAX))


def plan(traffic: Traffic, slopes: Slopes) -> Plan:
    """What the traffic needs, and what gives out first."""
    share, partitions = _settled(traffic, slopes)
    if traffic.hottest > (limit := hottest_limit(traffic, slopes)):
        return _combined(traffic, slopes, limit)
    workers = _workers(share)
    state = _state_bytes(traffic, slopes)
    saved = written(traffic, slopes, partitions)
    log = traffic.events_per_s * _log_bytes(traffic, slopes)
    return Plan(
        cores=sum(share.values()) / BUSY_MAX,
        workers=workers,
        partitions=partitions,
        memory_mb_per_worker=_memory_bytes(traffic, slopes, workers) / 1e6,
        state_topic_mb=(COMPACTION * state + partitions * SEGMENT_BYTES) / 1e6,
        snapshot_mb_per_s=saved.stored / SNAPSHOT_S / 1e6,
        log_mb_per_s=log / 1e6,
        log_gb_per_day=log * 86_400 * traffic.replication / 1e9,
        bottleneck=max(share, key=lambda name: share[name]),
        hottest_limit_per_s=limit,
        combiners=0,
        advice="",
        share_of_core=share,
    )


def hottest_limit(traffic: Traffic, slopes: Slopes) -> float:
    """Events a second that one service may send: those of one partition, one core."""
    closed_us = slopes.window_us + slopes.series_us * traffic.series
    left = BUSY_MAX - closed_us / traffic.window_s / 1e6
    return max(0.0, left) * 1e6 / event_us(slopes, traffic.shape)


def _combined(traffic: Traffic, slopes: Slopes, limit: float) -> Plan:
    """The plan with the hottest service's single events in combiners."""
    hot = traffic.hottest
    rest = msgspec.structs.replace(
        traffic,
        events_per_s=max(0.0, traffic.events_per_s - hot),
        hottest_per_s=min(limit, max(0.0, traffic.events_per_s - hot)),
    )
    base = plan(rest, slopes)
    if traffic.shape == "aggregate":
        advice = (
            "the hottest service sends more aggregates than a partition bears: "
            "let its senders add up more of them, or use wider windows"
        )
        return base._replace(hottest_limit_per_s=limit, advice=advice)
    record_us = slopes.record_us / (100 if traffic.shape == "array" else 1)
    cores = hot * (slopes.combined_us + record_us) / 1e6 / BUSY_MAX
    combiners = max(2, math.ceil(cores))
    lines = combiners * traffic.releases * traffic.segments / traffic.window_s
    log = base.log_mb_per_s + hot * _log_bytes(traffic, slopes) / 1e6
    advice = (
        f"the hottest service sends {hot:,.0f} events a second, one partition bears "
        f"{limit:,.0f}: let its senders send aggregates (about {lines:,.0f} a second "
        f"would do), or run {combiners} combiners with HYPERCARE_HOT_PARTITIONS="
        f"{_partitions(combiners)}"
    )
    return base._replace(
        cores=base.cores + cores,
        log_mb_per_s=log,
        log_gb_per_day=log * 86_400 * traffic.replication / 1e3,
        bottleneck="hottest service",
        hottest_limit_per_s=limit,
        combiners=combiners,
        advice=advice,
    )


def _partitions(workers: int) -> int:
    wanted = max(4, PARTITIONS_PER_WORKER * workers)
    return min(PARTITIONS_MAX, 1 << (wanted - 1).bit_length())


def _memory_bytes(traffic: Traffic, slopes: Slopes, workers: int) -> float:
    objects = (
        traffic.services * slopes.service_bytes
        + traffic.services * traffic.releases * slopes.release_bytes
        + traffic.services * traffic.series * slopes.series_bytes
        + traffic.cells * traffic.days * slopes.cell_day_bytes
    )
    if traffic.shape != "aggregate":
        objects += traffic.events_per_s * ID_KEPT_S * slopes.id_bytes
    # A worker that is gone leaves its part to the others.
    holders = max(1, workers - 1)
    return slopes.process_bytes + MEMORY_SPARE * objects / holders


def _state_bytes(traffic: Traffic, slopes: Slopes) -> float:
    """All state, whole: what stands in the state topic before compression."""
    ids = 0.0
    if traffic.shape != "aggregate":
        ids = traffic.events_per_s * ID_KEPT_S * ID_STATE_BYTES
    return (
        traffic.services * slopes.service_state_bytes
        + traffic.services * traffic.series * slopes.series_state_bytes
        + traffic.cells * (traffic.days + PAST_OF_TODAY) * slopes.cell_day_state_bytes
        + ids
    )


def _log_bytes(traffic: Traffic, slopes: Slopes) -> float:
    return {
        "single": slopes.single_log_bytes,
        "array": slopes.array_log_bytes,
        "aggregate": slopes.aggregate_log_bytes,
    }[traffic.shape]
