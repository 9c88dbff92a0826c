"""A partition's state as named blocks of bytes, and back.

One block per scope with the rows of its series, one for the partition. Every
block starts with its format version; a reader refuses a newer one by name
instead of guessing. Blocks are what the shell writes to the snapshot topic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detector.engine import Partition
from detector.evidence.rows import COLUMNS, RateRatioRows
from detector.rulefile import RuleSet
from detector.scope import Scope, ScopeKey

VERSION = 1
PARTITION_BLOCK = "partition"
SCOPE_PREFIX = "scope/"


class StateError(Exception):
    """A block can not be read; the message names it and what to do."""


class PartitionBlock(Struct, kw_only=True):
    """What belongs to the partition as a whole."""

    version: int
    next_offset: int
    arrival_ms: int
    rules: bytes
    rules_of_service: dict[str, bytes]
    counts: dict[str, int]


class ScopeBlock(Struct, kw_only=True):
    """One scope and the rows of its series, watch by watch in order."""

    version: int
    scope: Scope
    rows: dict[str, bytes]


Block = TypeVar("Block", PartitionBlock, ScopeBlock)

_encode = msgspec.msgpack.Encoder().encode


def block_name(key: ScopeKey) -> str:
    """Name of a scope's block."""
    # Names may hold slashes but no percent sign: a/b in c is not a in b/c.
    service, environment = (part.replace("/", "%2F") for part in key)
    return f"{SCOPE_PREFIX}{service}/{environment}"


def all_blocks(partition: Partition) -> dict[str, bytes]:
    """The whole state."""
    blocks = {PARTITION_BLOCK: _partition_block(partition)}
    for key in partition.scopes:
        blocks[block_name(key)] = _scope_block(partition, key)
    return blocks


def dirty_blocks(partition: Partition) -> dict[str, bytes | None]:
    """What changed since ``mark_clean``; None marks a block that is gone."""
    blocks: dict[str, bytes | None] = {PARTITION_BLOCK: _partition_block(partition)}
    for key in sorted(partition.dirty):
        blocks[block_name(key)] = _scope_block(partition, key)
    for key in sorted(partition.gone):
        blocks[block_name(key)] = None
    return blocks


def mark_clean(partition: Partition) -> None:
    """Forget what was dirty: it has been taken into a snapshot."""
    partition.dirty.clear()
    partition.gone.clear()


def restore(
    number: int,
    blocks: Mapping[str, bytes],
    next_offset: int,
    topic: str = "hypercare.events",
) -> Partition:
    """The partition that wrote the blocks, ready for the record at ``next_offset``.

    Raises
    ------
    StateError
        If a block is missing, newer than this code, or damaged.
    """
    head = _read(blocks, PARTITION_BLOCK, PartitionBlock)
    if head.next_offset != next_offset:
        raise StateError(
            f"block {PARTITION_BLOCK} ends at offset {head.next_offset}, the manifest "
            f"at {next_offset}: rebuild the state from the log"
        )
    partition = Partition(number, RuleSet.from_canonical_json(head.rules), topic)
    for service, rules in head.rules_of_service.items():
        partition.rulebook.put(RuleSet.from_canonical_json(rules), service)
    partition.next_offset = head.next_offset
    partition.arrival_ms = head.arrival_ms
    partition.counts.update(head.counts)
    for name in sorted(blocks):
        if name.startswith(SCOPE_PREFIX):
            _restore_scope(partition, name, _read(blocks, name, ScopeBlock))
    return partition


def _partition_block(partition: Partition) -> bytes:
    book = partition.rulebook
    return _encode(
        PartitionBlock(
            version=VERSION,
            next_offset=partition.next_offset,
            arrival_ms=partition.arrival_ms,
            rules=book.default.to_canonical_json(),
            rules_of_service={
                service: rules.to_canonical_json()
                for service, rules in sorted(book.of_service.items())
            },
            counts=dict(partition.counts),
        )
    )


def _scope_block(partition: Partition, key: ScopeKey) -> bytes:
    scope = partition.scopes[key]
    arrays = partition.rows.extract(_row_numbers(scope))
    return _encode(
        ScopeBlock(
            version=VERSION,
            scope=scope,
            rows={name: array.tobytes() for name, array in arrays.items()},
        )
    )


def _restore_scope(partition: Partition, name: str, block: ScopeBlock) -> None:
    scope = block.scope
    _place_rows(scope, name, block.rows, partition.rows)
    partition.adopt(scope)


def _place_rows(
    scope: Scope, name: str, rows: Mapping[str, bytes], table: RateRatioRows
) -> None:
    """Put the rows back, wherever there is room, and tell the series where."""
    series = [
        one
        for watch in scope.watches.values()
        for track in watch.tracks.values()
        for one in track.series.series
    ]
    if rows.keys() != COLUMNS.keys():
        wrong = ", ".join(sorted(rows.keys() ^ COLUMNS.keys()))
        raise StateError(f"block {name}: columns {wrong} are unknown or missing")
    arrays: dict[str, NDArray[Any]] = {}
    for column, spec in COLUMNS.items():
        shape = (len(series), spec.width) if spec.width else (len(series),)
        try:
            flat = np.frombuffer(rows[column], dtype=spec.kind)
            arrays[column] = flat.reshape(shape)
        except ValueError as error:
            raise StateError(f"block {name}, column {column}: {error}") from error
    for one, row in zip(series, table.insert(arrays).tolist(), strict=True):
        one.row = row


def _row_numbers(scope: Scope) -> list[int]:
    return [row for watch in scope.watches.values() for row in watch.rows()]


def _read(blocks: Mapping[str, bytes], name: str, kind: type[Block]) -> Block:
    try:
        block = msgspec.msgpack.decode(blocks[name], type=kind)
    except KeyError as error:
        raise StateError(f"block {name} is missing: rebuild the state") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StateError(f"block {name} is damaged ({error}): rebuild it") from error
    if block.version > VERSION:
        raise StateError(
            f"block {name} has version {block.version}, this code reads up to "
            f"{VERSION}: start the newer release of hypercare"
        )
    return block
