"""The log as it was, record by record: from Kafka, or from exact recordings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
from aiokafka.partitioner import murmur2
from kafka.errors import KafkaError

from detector.events import EVERY_SERVICE
from detector.records import LogRecord
from detector.rulefile import RuleFileError, RuleSet
from streams.errors import Refused
from streams.greeting import explained_error
from streams.logreader import consumer_of, partitions_of
from streams.recording import EXACT_BEGINS, read_exact
from streams.settings import Settings
from streams.topictable import LOG

BATCH = 1000
"""Records applied together; it changes no decision."""

POLL_MS = 1000


class Chunk(NamedTuple):
    """Successive records of one partition."""

    partition: int
    records: list[LogRecord]


@dataclass
class Held:
    """What is held of one partition: records ``first`` to ``end`` (not included).

    ``gap`` is an offset at which records are missing, -1 where there is none.
    """

    first: int
    end: int
    gap: int = -1
    services: set[str] = field(default_factory=set)
    rulesets: dict[str, RuleSet] = field(default_factory=dict)


class PastLog(Protocol):
    """Records of the log of some time, read as often as needed."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    def held(self) -> dict[int, Held]:
        """What there is, by partition."""

    def partition_of(self, service: str) -> int | None:
        """The partition that a service is in; None where it does not occur."""

    def rulesets(self, partition: int) -> dict[str, RuleSet]:
        """Rule sets that commands in a partition put in force, by hash."""

    def chunks(self, partitions: Collection[int]) -> Iterator[Chunk]:
        """Records of some partitions, each partition's in order."""


class KafkaPast:
    """The log in Kafka, as far back as retention goes, up to its present end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.topic(LOG)
        try:
            with closing(consumer_of(settings)) as probe:
                parts = partitions_of(settings, probe, self._topic)
                begins = probe.beginning_offsets(parts)
                ends = probe.end_offsets(parts)
        except KafkaError as error:
            raise explained_error(settings, error) from error
        self._parts = {part.partition: part for part in parts}
        self._held = {p.partition: Held(begins[p], ends[p]) for p in parts}

    @property
    def name(self) -> str:
        """The topic."""
        return f"topic {self._topic}"

    def held(self) -> dict[int, Held]:
        """What there is, by partition."""
        return self._held

    def partition_of(self, service: str) -> int | None:
        """Where Kafka's default partitioner puts a service."""
        return int(murmur2(service.encode()) & 0x7FFFFFFF) % len(self._parts)

    def rulesets(self, partition: int) -> dict[str, RuleSet]:
        """Rule sets that commands in a partition put in force, by hash."""
        found: dict[str, RuleSet] = {}
        for chunk in self.chunks([partition]):
            for record in chunk.records:
                found |= rulesets_in(record.value)
        return found

    def chunks(self, partitions: Collection[int]) -> Iterator[Chunk]:
        """Records of some partitions, one partition after the other."""
        for number in sorted(partitions):
            try:
                yield from self._read(number)
            except KafkaError as error:
                raise explained_error(self._settings, error) from error

    def _read(self, number: int) -> Iterator[Chunk]:
        part, end = self._parts[number], self._held[number].end
        consumer: Any = consumer_of(self._settings)
        try:
            consumer.assign([part])
            consumer.seek_to_beginning(part)
            while consumer.position(part) < end:
                for records in consumer.poll(POLL_MS, max_records=BATCH).values():
                    chunk = [
                        LogRecord(r.offset, r.timestamp, r.key, r.value)
                        for r in records
                        if r.offset < end
                    ]
                    if chunk:
                        yield Chunk(number, chunk)
        finally:
            consumer.close()


class RecordedPast:
    """Exact recordings, which may overlap, from the oldest on.

    Raises
    ------
    Refused
        A line is none of an exact recording.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = sorted(paths, key=_begin_ms)
        self._held: dict[int, Held] = {}
        self._learn()

    @property
    def name(self) -> str:
        """The files."""
        return ", ".join(map(str, self._paths))

    def held(self) -> dict[int, Held]:
        """What there is, by partition."""
        return self._held

    def partition_of(self, service: str) -> int | None:
        """The partition in which a service's records are keyed by it."""
        held = self._held.items()
        return next((n for n, one in held if service in one.services), None)

    def rulesets(self, partition: int) -> dict[str, RuleSet]:
        """Rule sets that commands in a partition put in force, by hash."""
        return self._held[partition].rulesets

    def chunks(self, partitions: Collection[int]) -> Iterator[Chunk]:
        """Records of some partitions, as they stand in the files."""
        wanted = set(partitions)
        records = (found for found in self._records() if found[0] in wanted)
        while batch := list(islice(records, BATCH)):
            shared: dict[int, list[LogRecord]] = {}
            for number, record in batch:
                shared.setdefault(number, []).append(record)
            for number, own in shared.items():
                yield Chunk(number, own)

    def _learn(self) -> None:
        for number, record in self._records():
            held = self._held.setdefault(number, Held(record.offset, record.offset))
            held.end = record.offset + 1
            if record.key is not None:
                held.services.add(record.key.decode(errors="replace"))
            held.rulesets |= rulesets_in(record.value)

    def _records(self) -> Iterator[tuple[int, LogRecord]]:
        """Each record once, whatever the number of files that hold it."""
        ends: dict[int, int] = {}
        for path in self._paths:
            fresh: set[int] = set()
            for place, line in enumerate(_lines(path), 1):
                found = read_exact(line)
                if found is None:
                    raise Refused(
                        f"{path}:{place}: no line of an exact recording: "
                        "make one with `hypercare record --exact`"
                    )
                number, record = found.partition, found.record
                end = ends.get(number)
                if end is not None and record.offset < end:
                    continue
                # Within a file offsets may jump, where Kafka keeps its own marks.
                if end is not None and number not in fresh and record.offset > end:
                    self._held[number].gap = end
                fresh.add(number)
                ends[number] = record.offset + 1
                yield number, record


def is_exact(path: Path) -> bool:
    """Whether a file is an exact recording, by its first line."""
    first = next(_lines(path), b"")
    return first.startswith(EXACT_BEGINS) and read_exact(first) is not None


def rulesets_in(value: bytes | None) -> dict[str, RuleSet]:
    """Rule sets that commands in a record put in force, by hash."""
    if value is None or b'"ruleset"' not in value:
        return {}
    try:
        body = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
    found: dict[str, RuleSet] = {}
    for member in body if isinstance(body, list) else [body]:
        if not isinstance(member, dict) or member.get("name") != "ruleset":
            continue
        text = member.get("rules_text")
        if not isinstance(text, str) or member.get("service") != EVERY_SERVICE:
            continue
        try:
            rules = RuleSet.from_canonical_json(text.encode())
        except RuleFileError:  # it did not take effect then, either
            continue
        found[rules.hash] = rules
    return found


def _begin_ms(path: Path) -> int:
    first = read_exact(next(_lines(path), b""))
    return -1 if first is None else first.timestamp_ms


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from (line for line in file if line.strip())
    except OSError as error:
        raise Refused(f"{path}: {error}: give a readable recording") from error
