"""A partition's state as named blocks of bytes, and back.

One block for the partition; for each scope one of its own, its rows apart
(``detector.rowstate``). Days that are over are by far the largest part of a scope
with a long past and never change: each large one is a block of its own, written
once. Blocks are what the shell writes to the snapshot topic.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec.structs import replace

from detector.blocks import (
    DAY_PREFIX,
    PARTITION_BLOCK,
    ROWS_PREFIX,
    SCOPE_PREFIX,
    STEPS_PREFIX,
    VERSION,
    DayBlock,
    PartitionBlock,
    RowsBlock,
    ScopeBlock,
    StateError,
    StepsBlock,
    block_name,
    day_name,
    encode,
    forms,
    read_block,
    read_scope,
    scope_of,
)
from detector.engine import Partition
from detector.evidence.rowimage import layout_of
from detector.evidence.rows import COLUMNS
from detector.forms import disagreement
from detector.ledger import DAY_MS, Key
from detector.rowstate import (
    changed_rows,
    check_layout,
    mark_rows,
    restore_rows,
    row_names,
    whole_rows,
    write_rows_anew,
)
from detector.rulefile import RuleSet
from detector.scope import Scope
from detector.strip import Strip

DAY_BLOCK_MIN_BYTES = 65_536
"""Smaller days stay in their scope's block: a block has its price, too."""


def all_blocks(partition: Partition) -> dict[str, bytes]:
    """The whole state."""
    blocks = {PARTITION_BLOCK: _partition_block(partition)}
    for key, scope in partition.scopes.items():
        blocks[block_name(key)] = _scope_block(scope)
        for day in _days_apart(scope):
            blocks[day_name(key, day)] = _day_block(scope, day)
    rows = whole_rows(partition, partition.scopes)
    blocks |= {name: block for name, block in rows.items() if block is not None}
    return blocks


def dirty_blocks(
    partition: Partition, also: Collection[str] = ()
) -> dict[str, bytes | None]:
    """What changed since ``mark_clean``; None marks a block that is gone.

    ``also`` names blocks that are to be written although they did not change. Steps
    are never written twice: the rows they lead to are.
    """
    for name in sorted(also):
        _write_anew(partition, name)
    blocks: dict[str, bytes | None] = {PARTITION_BLOCK: _partition_block(partition)}
    dirty = sorted(partition.dirty)
    for key in dirty:
        scope, written = partition.scopes[key], partition.days_written.get(key, ())
        blocks[block_name(key)] = _scope_block(scope)
        days = _days_apart(scope)
        for day in sorted({*days, *written}):
            if day not in days:
                blocks[day_name(key, day)] = None
            elif day not in written:
                blocks[day_name(key, day)] = _day_block(scope, day)
    blocks |= changed_rows(partition, dirty)
    for key in sorted(partition.gone):
        blocks[block_name(key)] = None
        blocks |= dict.fromkeys(row_names(partition, key))
        for day in partition.days_written.get(key, ()):
            blocks[day_name(key, day)] = None
    return blocks


def mark_clean(partition: Partition, *, whole: bool = False) -> None:
    """Forget what was dirty: a snapshot has it, a ``whole`` one or one of changes."""
    mark_rows(partition, whole=whole)
    for key in partition.gone:
        partition.days_written.pop(key, None)
    for key in partition.scopes if whole else partition.dirty:
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
    head = read_block(blocks, PARTITION_BLOCK, PartitionBlock)
    if head.next_offset != next_offset:
        raise StateError(
            f"block {PARTITION_BLOCK} ends at offset {head.next_offset}, the manifest "
            f"at {next_offset}: rebuild the state from the log"
        )
    check_layout(head.row, head.version)
    if wrong := disagreement(head.forms, forms()):
        raise StateError(f"field {wrong} stands elsewhere than it was written")
    partition = Partition(number, RuleSet.from_canonical_json(head.rules), topic)
    for service, rules in head.rules_of_service.items():
        partition.rulebook.put(RuleSet.from_canonical_json(rules), service)
    partition.next_offset = head.next_offset
    partition.arrival_ms = head.arrival_ms
    partition.counts.update(head.counts)
    names = [name for name in sorted(blocks) if name.startswith(SCOPE_PREFIX)]
    found = [read_scope(blocks, name) for name in names]
    restore_rows(partition, found, blocks)
    for block in found:
        _restore_scope(partition, block, blocks)
    return partition


def _partition_block(partition: Partition) -> bytes:
    book = partition.rulebook
    return encode(
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
            row=layout_of(COLUMNS),
            forms=forms(),
        )
    )


def _write_anew(partition: Partition, name: str) -> None:
    """Take a block for changed, if there is still such a one."""
    if name == PARTITION_BLOCK or "/" not in name:
        return
    key = scope_of(name)
    if key not in partition.scopes:
        return
    partition.dirty.add(key)
    if name.startswith((ROWS_PREFIX, STEPS_PREFIX)):
        write_rows_anew(partition, key)
    elif name.startswith(DAY_PREFIX):
        days = partition.days_written.get(key, ())
        kept = tuple(day for day in days if day_name(key, day) != name)
        partition.days_written[key] = kept


def _scope_block(scope: Scope) -> bytes:
    days = _days_apart(scope)
    return encode(
        ScopeBlock(
            version=VERSION,
            scope=_without(scope, days) if days else scope,
            days=list(days),
        )
    )


def _day_block(scope: Scope, day: int) -> bytes:
    counts, durations = scope.ledger.pages, scope.latency.coarse.pages
    return encode(
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
    partition: Partition, block: ScopeBlock, blocks: Mapping[str, bytes]
) -> None:
    scope = block.scope
    for day in block.days:
        found = read_block(blocks, day_name(scope.key, day), DayBlock)
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


__all__ = [
    "DAY_BLOCK_MIN_BYTES",
    "PARTITION_BLOCK",
    "SCOPE_PREFIX",
    "VERSION",
    "DayBlock",
    "PartitionBlock",
    "RowsBlock",
    "ScopeBlock",
    "StateError",
    "StepsBlock",
    "all_blocks",
    "block_name",
    "day_name",
    "dirty_blocks",
    "mark_clean",
    "restore",
]
