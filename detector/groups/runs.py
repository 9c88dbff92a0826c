"""Records cut into runs: few enough for little memory, enough to be worth a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from detector.groups import batching
from detector.groups.columns import Columns
from detector.records import LogRecord, Outputs

if TYPE_CHECKING:
    from detector.engine import Partition

RUN_BYTES, RUN_BYTES_MAX = 524_288, 2_097_152
SCOPE_BYTES = 32_768
"""A run is as long as its scopes need to have a group each, or fits a cache."""

RUN_RECORDS = 4096
RUN_STEP = 4
"""Records whose sizes are added at once; a run can exceed its bytes by these."""

TICK = b'"tick"'
TICK_BYTES_MIN = 32_768
"""A combiner's ticks cut its lines into groups; with fewer bytes between two of them
counting together takes longer than one by one."""

EVENT_BYTES_MIN = 40
IDS_ROOM = 1 << 16
"""Ids that must find room before a run, else the order of events decides whose do."""


def fresh_of(records: Sequence[LogRecord], expected: int) -> Sequence[LogRecord]:
    """Records at or above an offset, each offset once and in order."""
    offsets = [record.offset for record in records]
    if offsets and offsets[0] >= expected:
        first = offsets[0]
        if offsets == list(range(first, first + len(offsets))):
            return records
    found = []
    for record in records:
        if record.offset >= expected:
            found.append(record)
            expected = record.offset + 1
    return found


def apply_together(
    partition: Partition, records: Sequence[LogRecord], outputs: Outputs
) -> None:
    """Apply records, in groups where that is worth it."""
    sizes = [len(record.value or b"") for record in records]
    begin, scopes = 0, 1
    while begin < len(records):
        limit = min(max(RUN_BYTES, SCOPE_BYTES * scopes), RUN_BYTES_MAX)
        end, size = begin, 0
        while end < len(records) and size < limit and end - begin < RUN_RECORDS:
            size += sum(sizes[end : end + RUN_STEP])
            end += RUN_STEP
        scopes = _apply_run(partition, records[begin:end], size, outputs)
        begin = end


def _apply_run(
    partition: Partition, records: Sequence[LogRecord], size: int, outputs: Outputs
) -> int:
    """Apply some records; gives the number of scopes whose events were grouped."""
    # Joined first: a call for each single event is a seventh of what it costs.
    ticks = b"\n".join([record.value or b"" for record in records]).count(TICK)
    least = max(batching.RUN_EVENTS_MIN * EVENT_BYTES_MIN, ticks * TICK_BYTES_MIN)
    if size >= least and partition.has_room(IDS_ROOM, 0):
        columns = Columns(records, partition.arrival_ms)
        if len(columns) >= batching.RUN_EVENTS_MIN:
            run = batching.Run(partition, columns, outputs)
            if run.has_room():
                run.go()
                return len(run.keys)
    for record in records:
        partition.apply_one(record, outputs)
    return 1
