"""What leaves a combiner, as records of the log keyed by service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

import msgspec

from detector.combiner.cells import Frame, aggregates
from detector.combiner.scopes import WIDTH_MS, Scope, Window
from detector.edge import (
    BYTES_MAX,
    EVENT_BYTES_MAX,
    EVENTS_MAX,
    oversize,
    ready_for_log,
)
from detector.events import Event, Telemetry, Tick
from detector.records import Output
from detector.redact import scrub
from detector.wire import dead_letter

COMBINED = "combined"
"""Logical name of outputs that are records of the log."""

_encode = msgspec.json.Encoder().encode


class Author(NamedTuple):
    """A combiner, and how many there are."""

    sender: str
    senders: int


def sent(
    scope: Scope,
    windows: Sequence[tuple[int, Window]],
    author: Author,
    *,
    is_first: bool,
) -> list[Output]:
    """The aggregates of windows, and behind them up to when they are complete.

    The id of an aggregate is its combiner, window, part of it and place in that: what
    is in a part is fixed when it is sent, so each copy carries the same id. Of the
    first ones of a service each tells from when on it is, so that the worker
    knows of the other combiners before it lets time pass.
    """
    lines: list[bytes] = []
    for start_ms, window in windows:
        if is_first and lines:
            lines.append(_tick(scope, start_ms, author))
        lines += map(_encode, _lines(scope, start_ms, window, author.sender))
    lines.append(_tick(scope, scope.sent_ms, author))
    arrays = list(_arrays(lines))
    place = f"{author.sender}/{scope.service}/{scope.environment}/{scope.sent_ms}"
    return [
        Output(COMBINED, scope.service, array, f"{place}/{number}")
        for number, array in enumerate(arrays)
    ]


def _tick(scope: Scope, until_ms: int, author: Author) -> bytes:
    service, environment = scope.key
    tick = Tick(
        ts=until_ms,
        service=service,
        environment=environment,
        sender=author.sender,
        senders=author.senders,
    )
    return _encode(canonical(tick))


def _lines(
    scope: Scope, start_ms: int, window: Window, sender: str
) -> Iterator[Telemetry]:
    frame = Frame(scope.service, scope.environment, start_ms, WIDTH_MS // 1000, sender)
    for number, line in enumerate(aggregates(frame, window.cells)):
        name = f"{sender}/{start_ms}/{window.part}/{number}"
        yield canonical(scrub(msgspec.structs.replace(line, id=name, seq=number)))


def passed_on(
    event: Event, place: tuple[str, int, int, int], timestamp_ms: int, key: bytes
) -> Output:
    """An event that is not combined, the same as by ingress; or its dead letter."""
    line = _encode(canonical(ready_for_log(event, place, timestamp_ms, key)))
    if len(line) > EVENT_BYTES_MAX:
        return dead_letter(oversize(line), *place)
    where = "/".join(map(str, place))
    return Output(COMBINED, event.service, line, where)


Record = TypeVar("Record", bound=msgspec.Struct)


def canonical(record: Record) -> Record:
    """The record with what is at its default left out when it is encoded.

    The encoder knows defaults by identity: of equal records one that came from a
    snapshot would be written in other bytes.
    """
    changes = {
        name: default
        for name, default in _defaults(type(record))
        if getattr(record, name) == default
    }
    return msgspec.structs.replace(record, **changes) if changes else record


@cache
def _defaults(kind: type[msgspec.Struct]) -> list[tuple[str, Any]]:
    fields = msgspec.structs.fields(kind)
    return [(f.name, f.default) for f in fields if f.default is not msgspec.NODEFAULT]


def _arrays(lines: Sequence[bytes]) -> Iterator[bytes]:
    """Join lines into arrays within the limits, in order."""
    part: list[bytes] = []
    size = 2
    for line in lines:
        if part and (len(part) >= EVENTS_MAX or size + len(line) + 1 > BYTES_MAX):
            yield b"[" + b",".join(part) + b"]"
            part, size = [], 2
        part.append(line)
        size += len(line) + 1
    yield b"[" + b",".join(part) + b"]"
