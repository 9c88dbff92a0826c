"""The log as lines that ``replay`` reads, whatever the number of partitions.

A recording stands for all partitions at once, so what concerns "the partition" is
spelt out per service: a tick becomes ticks of the services seen there so far, a
rule set is given to each of them, and to later ones before their first record.
``received_at`` becomes the arrival clock of the partition; ``sent_at`` moves with
it, so the difference that shows a wrong clock stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from detector.events import EVERY_SERVICE

Json = dict[str, Any]


class Stored(NamedTuple):
    """A record of one partition of the log, as Kafka gave it."""

    timestamp_ms: int
    value: bytes | None


class Stamped(NamedTuple):
    """A line with its arrival time, by which partitions are merged."""

    arrival_ms: int
    line: bytes


def partition_lines(records: Iterable[Stored]) -> Iterator[Stamped]:
    """The lines of one partition. What is no JSON has no line: it decided nothing."""
    arrival_ms = 0
    seen: dict[str, None] = {}
    rules: Json | None = None
    for record in records:
        arrival_ms = max(arrival_ms, record.timestamp_ms)
        members, is_array = _members(record.value)
        fresh = _new_services(members, seen)
        if rules is not None and fresh:
            yield _line([{**rules, "service": name} for name in fresh], arrival_ms)
        seen.update(dict.fromkeys(fresh))
        spelt: list[Json] = []
        for member in members:
            broadcast = member.get("service") == EVERY_SERVICE
            if broadcast and member.get("name") == "ruleset":
                rules = member
            spelt += _per_service(member, seen) if broadcast else [member]
        if spelt:
            whole = is_array or len(spelt) > 1
            yield _line(spelt, arrival_ms, array=whole)


def _members(value: bytes | None) -> tuple[list[Json], bool]:
    try:
        found = msgspec.json.decode(value or b"")
    except (msgspec.DecodeError, RecursionError):
        return [], False
    if isinstance(found, list):
        return [m for m in found if isinstance(m, dict)], True
    return ([found] if isinstance(found, dict) else []), False


def _new_services(members: list[Json], seen: dict[str, None]) -> list[str]:
    found: dict[str, None] = {}
    for member in members:
        service = member.get("service")
        own = isinstance(service, str) and service != EVERY_SERVICE
        if own and service not in seen and member.get("kind") != "tick":
            found[str(service)] = None
    return list(found)


def _per_service(member: Json, seen: dict[str, None]) -> list[Json]:
    return [{**member, "service": name} for name in seen]


def _line(members: list[Json], arrival_ms: int, *, array: bool = True) -> Stamped:
    stamped = [_stamp(member, arrival_ms) for member in members]
    body: object = stamped if array else stamped[0]
    return Stamped(arrival_ms, msgspec.json.encode(body))


def _stamp(member: Json, arrival_ms: int) -> Json:
    sent, received = member.get("sent_at"), member.get("received_at")
    changed = {**member, "received_at": arrival_ms}
    if isinstance(sent, int) and isinstance(received, int):
        changed["sent_at"] = max(0, sent + arrival_ms - received)
    return changed
