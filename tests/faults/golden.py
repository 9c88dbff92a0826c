"""The reference: one process, no fault, over the log as the broker has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from kafka import KafkaConsumer, TopicPartition

from detector import state
from detector.blocks import FormsBlock
from detector.engine import Partition
from detector.records import LogRecord
from detector.rulefile import load_rules
from detector.wire import RECOMMENDATIONS, VERDICTS
from streams.bounded import install_in_reader
from streams.outbox import SHARD
from streams.topics import LOG
from tests.integration.detecting import DetectorStage

DECISION = ("release", "verdict", "action", "state", "id", "recommendation_id")
"""What two runs that saw the same events in another order must agree on."""

Cell = tuple[str, str]
"""Service and release."""

Published = set[tuple[bytes, bytes]]
"""Id and bytes of everything that was said."""


class Reference(NamedTuple):
    """What an undisturbed run holds and says."""

    partitions: dict[int, Partition]
    published: Published


def log_records(made: DetectorStage) -> dict[int, list[LogRecord]]:
    """Every record of the log by partition, up to its present end."""
    install_in_reader()
    topic = made.settings.topic(LOG)
    consumer: Any = KafkaConsumer(
        bootstrap_servers=made.settings.kafka.split(","),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    try:
        parts = [TopicPartition(topic, n) for n in range(made.settings.partitions)]
        ends = consumer.end_offsets(parts)
        consumer.assign(parts)
        found: dict[int, list[LogRecord]] = {part.partition: [] for part in parts}
        while any(consumer.position(part) < ends[part] for part in parts):
            for part, records in consumer.poll(500).items():
                found[part.partition] += [
                    LogRecord(r.offset, r.timestamp, r.key, r.value) for r in records
                ]
        return found
    finally:
        consumer.close()


def reference(
    made: DetectorStage, log: dict[int, list[LogRecord]], ends: dict[int, int]
) -> Reference:
    """Apply the log up to some offset of each partition, in one process."""
    rules = load_rules(made.rules.read_bytes(), source="faults")
    partitions, published = {}, set()
    for number, records in log.items():
        partition = Partition(number, rules, made.settings.topic(LOG))
        until = [r for r in records if r.offset < ends.get(number, 0)]
        for output in partition.apply(until).records:
            if output.topic in (VERDICTS, RECOMMENDATIONS):
                published.add((output.id.encode(), output.value))
        # By the way of a snapshot, as the other side came: rows are numbered anew.
        blocks, end = state.all_blocks(partition), partition.next_offset
        partitions[number] = state.restore(number, blocks, end, partition.topic)
    return Reference(partitions, published)


def live_partitions(made: DetectorStage) -> dict[int, Partition]:
    """What the newest snapshots hold."""
    found = {}
    topic = made.settings.topic(LOG)
    for number, (manifest, shards) in made.manifests().items():
        blocks = {name: shard for name, shard in shards.items() if name != SHARD}
        found[number] = state.restore(number, blocks, manifest.next_offset, topic)
    return found


def published(made: DetectorStage) -> Published:
    """What the workers said, on the topic that keeps everything; copies fall away."""
    return {(dict(r.headers)["id"], r.value) for r in made.read("audit")}


def image(partition: Partition) -> dict[str, Any]:
    """The whole state as values to compare; sets have no order, blocks of bytes do."""
    return {
        name: msgspec.msgpack.decode(block, type=_type_of(name))
        for name, block in state.all_blocks(partition).items()
    }


def _type_of(name: str) -> Any:
    kinds = {
        "partition": state.PartitionBlock,
        "forms": FormsBlock,
        "scope": state.ScopeBlock,
        "rows": state.RowsBlock,
    }
    return kinds.get(name.partition("/")[0], state.DayBlock)


def decisions(said: Iterable[bytes]) -> dict[str, list[tuple[Any, ...]]]:
    """What was decided about each service, in order, without places and times."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for value in said:
        body = msgspec.json.decode(value)
        if "command" in body:
            continue
        what = tuple(body.get(name) for name in DECISION)
        # Verdicts and recommendations have keys, and so partitions, of their own.
        sort = VERDICTS if "verdict" in body else RECOMMENDATIONS
        of_service = found.setdefault(f"{body['service']}, {sort}", [])
        if not of_service or of_service[-1] != what:
            of_service.append(what)
    return found


def units(partitions: dict[int, Partition]) -> Counter[Cell]:
    """Units counted of each release of each service."""
    counted: Counter[Cell] = Counter()
    for partition in partitions.values():
        for scope in partition.scopes.values():
            for name, release in scope.registry.releases.items():
                counted[scope.service, name] += round(release.units)
    return counted
