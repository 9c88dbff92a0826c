"""The log as lines that ``replay`` reads, whatever the number of partitions.

A recording stands for all partitions at once, so what concerns "the partition" is
spelt out per service: a tick becomes ticks of the services seen there so far, a
rule set is given to each of them, and to later ones before their first record.
``received_at`` becomes the arrival clock of the partition; ``sent_at`` moves with
it, so the difference that shows a wrong clock stays.

An exact recording keeps the records themselves, each with its partition, offset and
timestamp, so that past decisions can be made again to the byte; it becomes plain lines
on the way into whatever reads those.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from detector.events import EVERY_SERVICE
from detector.records import LogRecord

Json = dict[str, Any]

EXACT_BEGINS = b'{"partition":'
"""How a line of an exact recording begins."""


class Stored(NamedTuple):
    """A record of one partition of the log, as Kafka gave it."""

    timestamp_ms: int
    value: bytes | None


class Stamped(NamedTuple):
    """A line with its arrival time, by which partitions are merged."""

    arrival_ms: int
    line: bytes


class Exact(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A line of an exact recording: one record of the log as Kafka gave it.

    Keys and values that are no UTF-8 stand in the fields that end in ``base64``.
    """

    partition: int
    offset: int
    timestamp_ms: int
    key: str | None = None
    value: str | None = None
    key_base64: str | None = None
    value_base64: str | None = None

    @property
    def record(self) -> LogRecord:
        """The record itself."""
        key = _bytes(self.key, self.key_base64)
        value = _bytes(self.value, self.value_base64)
        return LogRecord(self.offset, self.timestamp_ms, key, value)


_exact = msgspec.json.Decoder(Exact)


def exact_line(partition: int, record: LogRecord) -> bytes:
    """A record of the log as a line of an exact recording."""
    key, key_base64 = _text(record.key)
    value, value_base64 = _text(record.value)
    line = Exact(partition, record.offset, record.timestamp_ms)
    line.key, line.key_base64 = key, key_base64
    line.value, line.value_base64 = value, value_base64
    return msgspec.json.encode(line)


def read_exact(line: bytes) -> Exact | None:
    """A line of an exact recording, None where it is none."""
    if not line.startswith(EXACT_BEGINS):
        return None
    try:
        return _exact.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return None


def plain_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines of any recording as plain ones; those of a plain one are not touched."""
    partitions: defaultdict[int, PlainPartition] = defaultdict(PlainPartition)
    for line in lines:
        exact = read_exact(line)
        if exact is None:
            yield line
            continue
        record = exact.record
        stored = Stored(record.timestamp_ms, record.value)
        for stamped in partitions[exact.partition].take(stored):
            yield stamped.line


def _text(data: bytes | None) -> tuple[str | None, str | None]:
    if data is None:
        return None, None
    try:
        return data.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(data).decode()


def _bytes(text: str | None, coded: str | None) -> bytes | None:
    if coded is not None:
        return base64.b64decode(coded)
    return None if text is None else text.encode()


def partition_lines(records: Iterable[Stored]) -> Iterator[Stamped]:
    """The lines of one partition. What is no JSON has no line: it decided nothing."""
    partition = PlainPartition()
    for record in records:
        yield from partition.take(record)


class PlainPartition:
    """Makes plain lines of the records of one partition."""

    def __init__(self) -> None:
        self._arrival_ms = 0
        self._seen: dict[str, None] = {}
        self._rules: Json | None = None

    def take(self, record: Stored) -> Iterator[Stamped]:
        """The lines of the next record."""
        self._arrival_ms = arrival_ms = max(self._arrival_ms, record.timestamp_ms)
        members, is_array = _members(record.value)
        fresh = _new_services(members, self._seen)
        if self._rules is not None and fresh:
            rules = [{**self._rules, "service": name} for name in fresh]
            yield _line(rules, arrival_ms)
        self._seen.update(dict.fromkeys(fresh))
        spelt: list[Json] = []
        for member in members:
            broadcast = member.get("service") == EVERY_SERVICE
            if broadcast and member.get("name") == "ruleset":
                self._rules = member
            spelt += _per_service(member, self._seen) if broadcast else [member]
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
