"""What stands in the log: services with a release on its way, packed in some ways."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np

from detector.simulate import Shop, constant, ramp
from streams.lanes import partition_of

PARTITIONS = 4
WINDOW_MS = 10_000
LAG_MS = 200
"""How long after its event a record reaches the log."""

SESSIONS_A_SERVICE = 2_500
"""Distinct sessions of a service where they repeat, over all windows."""

SESSIONS_AN_INSTANCE = 50
"""Sessions that one instance reports in a window, where aggregates are sent."""

SHARE = ramp([(2, 0.05), (5, 0.3)])


class Workload(NamedTuple):
    """How a log is packed and who is named in it.

    ``events`` are those of a service in a window; ``senders`` (of aggregates) how many
    instances of a service report each window, about nine lines each.
    """

    name: str
    array: int
    identity: str
    services: int
    events: int
    windows: int
    senders: int = 0

    @property
    def ids(self) -> bool:
        """Whether copies of records have to be recognised."""
        return self.identity == "ids"

    @property
    def sessions(self) -> bool:
        """Whether sessions repeat and count once."""
        return self.identity == "sessions"


WORKLOADS = (
    Workload("events, 100 a record", 100, "none", 4, 20_000, 8),
    Workload("events, one a record", 1, "none", 4, 20_000, 8),
    Workload("events, one a record, sessions repeat", 1, "sessions", 4, 20_000, 8),
    Workload("events, 100 a record, sessions repeat", 100, "sessions", 4, 20_000, 8),
    Workload("events, 100 a record, 8 thin services", 100, "none", 8, 5_000, 15),
    Workload("events, 100 a record, 200 tiny services", 100, "none", 200, 200, 10),
    Workload("aggregates, 100 a record", 100, "ids", 8, 1_800, 10, senders=200),
)
"""What decides beside the packing is how many events a service has in a window, as each
window of each service is closed once: 20,000 are 2,000 a second."""


class Record(NamedTuple):
    """One record to be written, and how many events it holds."""

    partition: int
    timestamp_ms: int
    key: bytes
    value: bytes
    events: int


def service_names(count: int) -> list[str]:
    """Names of services that spread evenly over the partitions."""
    room = dict.fromkeys(range(PARTITIONS), -(-count // PARTITIONS))
    found: list[str] = []
    number = 0
    while len(found) < count:
        name = f"service-{number:04d}"
        number += 1
        partition = partition_of(name.encode(), PARTITIONS)
        if room[partition]:
            room[partition] -= 1
            found.append(name)
    return found


def records(load: Workload, start_ms: int) -> Iterator[Record]:
    """The log in the order of arrival, drawn from one seed."""
    rng = np.random.default_rng(7)
    shops = [
        Shop(service=name, weight=SHARE, sessions_per_window=load.events)
        for name in service_names(load.services)
    ]
    waiting: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for index in range(load.windows):
        ts = start_ms + index * WINDOW_MS
        drawn = [
            event for shop in shops for event in _window(load, shop, rng, ts, index)
        ]
        drawn.sort(key=_end_ms)
        for event in drawn:
            packed = waiting[event["service"]]
            packed.append(event)
            if len(packed) >= load.array or event["kind"] == "deploy":
                yield _record(packed, single=load.array == 1)
                packed.clear()
    for packed in waiting.values():
        if packed:
            yield _record(packed, single=load.array == 1)


def _record(packed: list[dict[str, Any]], *, single: bool) -> Record:
    key = packed[0]["service"].encode()
    value = msgspec.json.encode(packed[0] if single else packed)
    stamp_ms = _end_ms(packed[-1]) + LAG_MS
    return Record(partition_of(key, PARTITIONS), stamp_ms, key, value, len(packed))


def _end_ms(event: dict[str, Any]) -> int:
    return int(event["ts"]) + int(event.get("window_s", 0)) * 1000


def _window(
    load: Workload, shop: Shop, rng: np.random.Generator, ts: int, index: int
) -> Iterator[dict[str, Any]]:
    if SHARE(index) != (SHARE(index - 1) if index else 0.0):
        phase = "started" if index == 2 else "progressed"
        yield shop.deploy(ts, SHARE(index), phase)
    if load.senders:
        yield from _aggregates(load, shop, rng, ts, index)
        return
    for event in shop.events(rng, ts, index):
        if load.sessions:
            number = int(event["session"][1:], 16) % SESSIONS_A_SERVICE
            event["session"] = f"s{number:012x}"
        else:
            del event["session"]
        del event["id"]
        yield event


def _aggregates(
    load: Workload, shop: Shop, rng: np.random.Generator, ts: int, index: int
) -> Iterator[dict[str, Any]]:
    """Lines of every instance, each with its own sequence of numbers."""
    mine = replace(
        shop, weight=constant(SHARE(index)), sessions_per_window=SESSIONS_AN_INSTANCE
    )
    for sender in range(load.senders):
        (lines,) = mine.windows(rng, ts, 1)
        lines = [line for line in lines if line["kind"] != "deploy"]
        for number, line in enumerate(lines):
            del line["received_at"]
            line["sender"] = f"instance-{sender:03d}"
            line["seq"] = index * 100 + number
            yield line
