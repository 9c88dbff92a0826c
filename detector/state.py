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
    FORMS_BLOCK,
    NAMED_VERSION,
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
    check_forms,
    day_name,
    encode,
    forms_block,
    read_block,
    read_scope,
    scope_of,
    steps_name,
)
from detector.engine import Partition
from detector.evidence.rowimage import layout_of
from detector.evidence.rows import COLUMNS
from detector.ledger import DAY_MS, Key
from detector.rowstate import (
    check_layout,
    mark_all_rows,
    next_rows,
    restore_rows,
    row_names,
    series_of,
    steps_block,
    whole_rows,
    write_rows_anew,
)
from detector.rulefile import RuleSet
from detector.scope import Scope, ScopeKey
from detector.steps import Draft
from detector.strip import Strip
from detector.turns import Saved, resume

DAY_BLOCK_MIN_BYTES = 65_536
"""Smaller days stay in their scope's block: a block has its price, too."""


def all_blocks(partition: Partition) -> dict[str, bytes]:
    """The whole state."""
    now = Saved(partition.next_offset, partition.arrival_ms)
    blocks = {
        PARTITION_BLOCK: _partition_block(partition, now),
        FORMS_BLOCK: forms_block(),
    }
    applied = partition.turns.applied_at(partition.next_offset, now)
    for key, scope in partition.scopes.items():
        days = _days_apart(scope)
        blocks[block_name(key)] = _scope_block(scope, days, applied(key))
        for day in days:
            blocks[day_name(key, day)] = _day_block(scope, day)
    rows = whole_rows(partition, partition.scopes)
    blocks |= {name: block for name, block in rows.items() if block is not None}
    return blocks


def dirty_blocks(
    partition: Partition, also: Collection[str] = (), *, everything: bool = False
) -> dict[str, bytes | None]:
    """What changed since it was written last; None marks a block that is gone.

    Where much changed a part of it, unless ``everything`` is wanted (`detector.turns`).
    ``also`` names blocks to be written although they did not change. Steps are never
    written twice: the rows they lead to are.
    """
    named = {key for name in sorted(also) if (key := _write_anew(partition, name))}
    keys = partition.turns.choose(partition, named, everything=everything)
    start = partition.turns.start(partition, set(keys))
    applied = partition.turns.applied_at(partition.next_offset, start)
    blocks: dict[str, bytes | None] = {
        PARTITION_BLOCK: _partition_block(partition, start)
    }
    if FORMS_BLOCK in also or not partition.forms_written:
        blocks[FORMS_BLOCK] = forms_block()
    draft = Draft(partition.next_offset, {}, {})
    anew: list[ScopeKey] = []
    # One scope after the other, as its objects are in the cache only once.
    for key in keys:
        scope = partition.scopes[key]
        days = draft.days[key] = _days_apart(scope)
        blocks[block_name(key)] = _scope_block(scope, days, applied(key))
        if days != (written := partition.days_written.get(key, ())):
            blocks |= _changed_days(scope, days, written)
        before = partition.rows_written.get(key)
        rows = draft.rows[key] = next_rows(partition, key)
        if rows.blocks == 0 and rows is not before:
            anew.append(key)
        elif rows is not before:
            blocks[steps_name(key, rows.blocks - 1)] = steps_block(partition, key)
    for key in anew:
        blocks |= dict.fromkeys(row_names(partition, key))
    blocks |= whole_rows(partition, anew)
    for key in sorted(partition.gone):
        blocks[block_name(key)] = None
        blocks |= dict.fromkeys(row_names(partition, key))
        for day in partition.days_written.get(key, ()):
            blocks[day_name(key, day)] = None
    partition.drafted = draft
    return blocks


def mark_clean(partition: Partition, *, whole: bool = False) -> None:
    """Remember what a snapshot holds, a ``whole`` one or one of changes."""
    draft, partition.drafted = partition.drafted, None
    if whole:
        mark_all_rows(partition)
        draft = Draft(0, {}, {k: _days_apart(s) for k, s in partition.scopes.items()})
        partition.steps.clear()
    elif draft is None or draft.next_offset != partition.next_offset:
        draft = _draft(partition)
    partition.rows_written |= draft.rows
    partition.days_written |= draft.days
    for key in partition.gone:
        partition.rows_written.pop(key, None)
        partition.days_written.pop(key, None)
    partition.forms_written = True
    for key in draft.rows:
        partition.steps.pop(key, None)
    partition.gone.clear()
    partition.turns.note(partition, draft.days.keys())


def restore(
    number: int,
    blocks: Mapping[str, bytes],
    next_offset: int,
    topic: str = "hypercare.events",
) -> Partition:
    """The partition that wrote the blocks, ready for the record at ``next_offset``.

    Scopes that know more of the log already leave that out (``detector.turns``).

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
    has_forms = head.version > NAMED_VERSION
    if has_forms:
        check_forms(blocks)
    partition = Partition(number, RuleSet.from_canonical_json(head.rules), topic)
    for service, rules in head.rules_of_service.items():
        partition.rulebook.put(RuleSet.from_canonical_json(rules), service)
    partition.next_offset = head.next_offset
    partition.forms_written = has_forms
    partition.arrival_ms = head.arrival_ms
    partition.counts.update(head.counts)
    names = [name for name in sorted(blocks) if name.startswith(SCOPE_PREFIX)]
    found = [read_scope(blocks, name) for name in names]
    restore_rows(partition, found, blocks)
    for block in found:
        _restore_scope(partition, block, blocks)
    resume(partition, head.head, {one.scope.key: one.applied for one in found})
    return partition


def _draft(partition: Partition) -> Draft:
    """What a snapshot of the partition as it is would leave in the topic."""
    dirty = partition.dirty
    rows = {key: next_rows(partition, key) for key in dirty}
    days = {key: _days_apart(partition.scopes[key]) for key in dirty}
    return Draft(partition.next_offset, rows, days)


def _changed_days(
    scope: Scope, days: tuple[int, ...], written: tuple[int, ...]
) -> dict[str, bytes | None]:
    """Blocks of days that are over since the last snapshot, or are no more."""
    return {
        day_name(scope.key, day): _day_block(scope, day) if day in days else None
        for day in sorted({*days, *written})
        if day not in days or day not in written
    }


def _partition_block(partition: Partition, start: Saved) -> bytes:
    book = partition.rulebook
    return encode(
        PartitionBlock(
            version=VERSION,
            next_offset=start.offset,
            head=partition.turns.head(partition.next_offset),
            arrival_ms=start.arrival_ms,
            rules=book.default.to_canonical_json(),
            rules_of_service={
                service: rules.to_canonical_json()
                for service, rules in sorted(book.of_service.items())
            },
            counts=dict(sorted(partition.counts.items())),
            row=layout_of(COLUMNS),
        )
    )


def _write_anew(partition: Partition, name: str) -> ScopeKey | None:
    """Take a block for changed, if there is still such a one; whose it is."""
    if "/" not in name:
        return None
    key = scope_of(name)
    if key not in partition.scopes:
        return None
    partition.dirty.add(key)
    if name.startswith((ROWS_PREFIX, STEPS_PREFIX)):
        write_rows_anew(partition, key)
    elif name.startswith(DAY_PREFIX):
        days = partition.days_written.get(key, ())
        kept = tuple(day for day in days if day_name(key, day) != name)
        partition.days_written[key] = kept
    return key


def _scope_block(scope: Scope, days: tuple[int, ...], applied: int) -> bytes:
    """The scope without the positions of its rows.

    A restore gives it new ones, and which ones are free depends on other scopes.
    """
    series = series_of(scope)
    positions = [one.row for one in series]
    for one in series:
        one.row = 0
    try:
        return encode(
            ScopeBlock(
                version=VERSION,
                scope=_without(scope, days) if days else scope,
                days=list(days),
                applied=applied,
            )
        )
    finally:
        for one, position in zip(series, positions, strict=True):
            one.row = position


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
    if len(counts.pages) <= 1 and not durations.pages:
        return ()  # the day that lasts
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
    if block.days:
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
