"""A partition's state as named blocks of bytes, and back.

One block per scope with the rows of its series, one for the partition. Days that are
over are by far the largest part of a scope with a long past and never change: each
large one is a block of its own, written once. Every block starts with its format
version; a reader refuses a newer one by name instead of guessing. Blocks are what
the shell writes to the snapshot topic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from detector.durationledger import DurationStrip
from detector.engine import Partition
from detector.evidence.rows import COLUMNS, RateRatioRows
from detector.ledger import DAY_MS, CountStrip, Key
from detector.rulefile import RuleSet
from detector.scope import Scope, ScopeKey
from detector.strip import Strip

VERSION = 1
PARTITION_BLOCK = "partition"
SCOPE_PREFIX = "scope/"
DAY_PREFIX = "ledger/"

DAY_BLOCK_MIN_BYTES = 65_536
"""Smaller days stay in their scope's block: a manifest names every block."""


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
    days: list[int] = field(default_factory=list)


class DayBlock(Struct, kw_only=True):
    """Counts and durations of one scope on one day that is over."""

    version: int
    counts: dict[Key, CountStrip]
    durations: dict[Key, DurationStrip]


Block = TypeVar("Block", PartitionBlock, ScopeBlock, DayBlock)

_encode = msgspec.msgpack.Encoder().encode


def block_name(key: ScopeKey) -> str:
    """Name of a scope's block."""
    # Names may hold slashes but no percent sign: a/b in c is not a in b/c.
    service, environment = (part.replace("/", "%2F") for part in key)
    return f"{SCOPE_PREFIX}{service}/{environment}"


def day_name(key: ScopeKey, day: int) -> str:
    """Name of the block of a scope's day, counted from 1970-01-01."""
    return f"{DAY_PREFIX}{block_name(key).removeprefix(SCOPE_PREFIX)}/{day}"


def all_blocks(partition: Partition) -> dict[str, bytes]:
    """The whole state."""
    blocks = {PARTITION_BLOCK: _partition_block(partition)}
    for key, scope in partition.scopes.items():
        blocks[block_name(key)] = _scope_block(partition, key)
        for day in _days_apart(scope):
            blocks[day_name(key, day)] = _day_block(scope, day)
    return blocks


def dirty_blocks(partition: Partition) -> dict[str, bytes | None]:
    """What changed since ``mark_clean``; None marks a block that is gone."""
    blocks: dict[str, bytes | None] = {PARTITION_BLOCK: _partition_block(partition)}
    for key in sorted(partition.dirty):
        blocks[block_name(key)] = _scope_block(partition, key)
        scope, written = partition.scopes[key], partition.days_written.get(key, ())
        days = _days_apart(scope)
        for day in sorted({*days, *written}):
            if day not in days:
                blocks[day_name(key, day)] = None
            elif day not in written:
                blocks[day_name(key, day)] = _day_block(scope, day)
    for key in sorted(partition.gone):
        blocks[block_name(key)] = None
        for day in partition.days_written.get(key, ()):
            blocks[day_name(key, day)] = None
    return blocks


def mark_clean(partition: Partition) -> None:
    """Forget what was dirty: it has been taken into a snapshot."""
    for key in partition.gone:
        partition.days_written.pop(key, None)
    for key in partition.dirty:
        partition.days_written[key] = _days_apart(partition.scopes[key])
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
            _restore_scope(partition, name, blocks)
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
            counts=dict(sorted(partition.counts.items())),
        )
    )


def _scope_block(partition: Partition, key: ScopeKey) -> bytes:
    scope = partition.scopes[key]
    arrays = partition.rows.extract(_row_numbers(scope))
    days = _days_apart(scope)
    return _encode(
        ScopeBlock(
            version=VERSION,
            scope=_without(scope, days) if days else scope,
            rows={name: array.tobytes() for name, array in arrays.items()},
            days=list(days),
        )
    )


def _day_block(scope: Scope, day: int) -> bytes:
    counts, durations = scope.ledger.pages, scope.latency.coarse.pages
    return _encode(
        DayBlock(
            version=VERSION,
            counts=counts.get(day, {}),
            durations=durations.get(day, {}),
        )
    )


def _days_apart(scope: Scope) -> tuple[int, ...]:
    """Large days of a scope that no window can change any more."""
    counts, durations = scope.ledger, scope.latency.coarse
    today = counts.newest_ms // DAY_MS
    last = (durations.newest_ms - 1) // DAY_MS
    over = {day for day in counts.pages if day < today}
    over |= {day for day in durations.pages if day < today}
    return tuple(
        day
        for day in sorted(over)
        if (day < last or day not in durations.pages)
        and _size(counts.pages.get(day, {})) + _size(durations.pages.get(day, {}))
        >= DAY_BLOCK_MIN_BYTES
    )


def _size(page: Mapping[Key, Strip]) -> int:
    return sum(len(strip.data) for strip in page.values())


def _without(scope: Scope, days: tuple[int, ...]) -> Scope:
    """The scope as its own block holds it."""
    ledger, latency = scope.ledger, scope.latency
    counts = {d: page for d, page in ledger.pages.items() if d not in days}
    durations = {d: page for d, page in latency.coarse.pages.items() if d not in days}
    coarse = replace(latency.coarse, pages=durations)
    return replace(
        scope,
        ledger=replace(ledger, pages=counts),
        latency=replace(latency, coarse=coarse),
    )


def _restore_scope(
    partition: Partition, name: str, blocks: Mapping[str, bytes]
) -> None:
    block = _read(blocks, name, ScopeBlock)
    scope = block.scope
    _place_rows(scope, name, block.rows, partition.rows)
    for day in block.days:
        found = _read(blocks, day_name(scope.key, day), DayBlock)
        if found.counts:
            scope.ledger.pages[day] = found.counts
        if found.durations:
            scope.latency.coarse.pages[day] = found.durations
    # In the order in which they were made, as blocks are compared byte by byte.
    counts, durations = scope.ledger, scope.latency.coarse
    counts.pages = dict(sorted(counts.pages.items()))
    durations.pages = dict(sorted(durations.pages.items()))
    partition.adopt(scope)
    partition.days_written[scope.key] = tuple(block.days)


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
