"""What a combiner counts of one kind of event in one window, and its aggregates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import msgspec
from msgspec import Struct, field

from detector.durations import SINGLE_SCALE, ZERO
from detector.events import (
    Error,
    ExponentialBuckets,
    ExponentialHistogram,
    Latency,
    Telemetry,
    Usage,
)
from detector.windows import FAILED_OUTCOMES

BUCKETS_MAX = 512
"""Buckets that one latency record may hold."""

_encode = msgspec.json.Encoder(order="sorted").encode


class CellKey(NamedTuple):
    """What the events of a cell have in common.

    ``attrs`` and ``extra`` (component, its version, changes) are JSON; ``word`` is the
    unit of usage or the severity of errors; ``signature`` is empty for usage.
    """

    release: str
    is_usage: bool
    attrs: str = "{}"
    extra: str = "{}"
    word: str = "request"
    step: str = ""
    signature: str = ""
    sample_rate: float = 1.0
    synthetic: bool = False
    handled: bool = False


class Cell(Struct, array_like=True):
    """Counts of a cell.

    ``count`` are usage events, or lines of errors, those of one trace once;
    ``sessions`` those that began here, or failed here for the first time; ``unknown``
    events that name no session; ``failed`` sessions by the outcome they failed with.
    """

    count: int = 0
    sessions: int = 0
    unknown: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    durations: dict[int, int] = field(default_factory=dict)
    traces: set[int] = field(default_factory=set)
    url: str | None = None


def key_of(event: Usage | Error, signature: str) -> CellKey:
    """The cell of an event; ``signature`` is that of an error."""
    extra: dict[str, Any] = {}
    if event.component is not None:
        extra["component"] = event.component
        extra["component_version"] = event.component_version
    if event.changes:
        extra["changes"] = event.changes
    is_usage = isinstance(event, Usage)
    return CellKey(
        release=event.release,
        is_usage=is_usage,
        attrs=_encode(event.attrs).decode(),
        extra=_encode(extra).decode(),
        word=event.unit if isinstance(event, Usage) else event.severity,
        step=(event.step or "") if isinstance(event, Usage) else "",
        signature=signature,
        sample_rate=event.sample_rate,
        synthetic=event.synthetic,
        handled=isinstance(event, Error) and event.handled,
    )


class Frame(NamedTuple):
    """What all aggregates of one window of a service have in common."""

    service: str
    environment: str
    start_ms: int
    window_s: int
    sender: str

    def common(self, key: CellKey) -> dict[str, Any]:
        """Fields of an aggregate of a cell."""
        return {
            "ts": self.start_ms,
            "window_s": self.window_s,
            "service": self.service,
            "environment": self.environment,
            "sender": self.sender,
            "release": key.release,
            "attrs": msgspec.json.decode(key.attrs),
            "sample_rate": key.sample_rate,
            "synthetic": key.synthetic,
            **msgspec.json.decode(key.extra),
        }


def aggregates(frame: Frame, cells: dict[CellKey, Cell]) -> Iterator[Telemetry]:
    """The aggregates of a window's cells, always in the same order.

    Failures of a release and place without usage bring a usage aggregate of nothing:
    here, that is known to be all there was.
    """
    used = {_place(key) for key in cells if key.is_usage and not key.step}
    for key in sorted(cells):
        if key.is_usage:
            yield from _of_usage(frame, key, cells[key])
            continue
        if _place(key) not in used:
            used.add(_place(key))
            yield Usage(**frame.common(key), count=0, sessions=0)
        cell = cells[key]
        yield Error(
            **frame.common(key),
            signature=key.signature,
            severity=cast(Any, key.word),
            handled=key.handled,
            count=cell.count,
            sessions=None if cell.unknown else cell.sessions,
            url=cell.url,
        )


def _place(key: CellKey) -> tuple[object, ...]:
    return (key.release, key.attrs, key.extra, key.synthetic)


def _of_usage(frame: Frame, key: CellKey, cell: Cell) -> Iterator[Telemetry]:
    common = frame.common(key)
    is_known = not cell.unknown and not key.step
    outcomes: dict[str, int] = dict(sorted(cell.outcomes.items()))
    if key.word == "session" and is_known:
        # Of this unit the core reads each failed outcome as one more failed session.
        failed = [outcome for outcome in FAILED_OUTCOMES if outcome in outcomes]
        outcomes |= {outcome: cell.failed.get(outcome, 0) for outcome in failed}
    yield Usage(
        **common,
        unit=cast(Any, key.word),
        step=key.step or None,
        count=cell.count,
        sessions=cell.sessions if is_known else None,
        outcomes=cast(Any, outcomes),
        url=cell.url,
    )
    if is_known and key.word != "session":
        for outcome, sessions in sorted(cell.failed.items()):
            name = f"outcome:{outcome}"
            yield Error(**common, signature=name, count=0, sessions=sessions)
    for histogram in _histograms(cell.durations):
        yield Latency(**common, exponential=histogram)


def _histograms(durations: dict[int, int]) -> Iterator[ExponentialHistogram]:
    """The buckets of single durations as histograms of the same layout."""
    zeros = durations.get(ZERO, 0)
    places = sorted(place for place in durations if place != ZERO)
    while places or zeros:
        first = places[0] if places else 0
        part = [place for place in places if place < first + BUCKETS_MAX]
        counts = [0] * (part[-1] - first + 1 if part else 0)
        for place in part:
            counts[place - first] = durations[place]
        yield ExponentialHistogram(
            scale=SINGLE_SCALE,
            zero_count=zeros,
            positive=ExponentialBuckets(offset=first, counts=counts),
        )
        places, zeros = places[len(part) :], 0
