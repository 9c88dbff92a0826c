"""Where a partition goes on, or why it must not: one function of plain values.

Used by the worker when it takes a partition and by ``hypercare state show``, so
that both say the same.
"""

from __future__ import annotations

from streams.history import FROM_START, DamagedState, Restored
from streams.ports import Bounds
from streams.settings import StateReset


class Blind(Exception):
    """Starting would mean to guess: the text says what is wrong and the ways out."""


def starting_point(
    restored: Restored | None,
    bounds: Bounds,
    *,
    ordered: int | None,
    log_partitions: int,
    reset: StateReset,
) -> int:
    """Return the offset of the log to go on from.

    Parameters
    ----------
    restored : Restored or None
        The newest complete snapshot.
    bounds : Bounds
        What the log holds and what the group has committed.
    ordered : int or None
        Where an operator told the partition to begin.
    log_partitions : int
        Number of partitions the log has now.
    reset : StateReset
        What to do without a snapshot and without an order.

    Raises
    ------
    Blind
        No offset is safe to go on from.
    """
    if restored is not None:
        return _continued(restored, bounds, log_partitions)
    if ordered is not None:
        return _ordered(ordered, bounds)
    if reset is StateReset.SKIP:
        return bounds.end
    if bounds.committed and reset is StateReset.NO:
        raise Blind(
            f"the group has committed offset {bounds.committed}, but there is no "
            "snapshot: the state topic was lost or is another one. Check "
            "HYPERCARE_PREFIX and HYPERCARE_GROUP; to read the log again stop the "
            "workers and run `hypercare state rebuild` (HYPERCARE_STATE_RESET=rebuild)"
        )
    return bounds.start


def recreated(end: int, wanted: int) -> str:
    """Return the words for a log that ends before the offset the state is at."""
    return (
        f"the log ends at offset {end}, the state is at {wanted}: the topic was "
        "created anew or lost records. Stop the workers and run `hypercare state "
        "rebuild` to read what is there, or `hypercare state reset` to begin at its end"
    )


def damaged(error: DamagedState) -> str:
    """Return the words for a state topic that has no complete snapshot."""
    return (
        f"no snapshot is complete ({error}): the state topic lost records. Stop the "
        "workers and run `hypercare state rebuild`"
    )


def _continued(restored: Restored, bounds: Bounds, log_partitions: int) -> int:
    manifest = restored.manifest
    if manifest.log_partitions != log_partitions:
        raise Blind(
            f"the state was written when the log had {manifest.log_partitions} "
            f"partitions, now it has {log_partitions}: services would move to "
            "partitions that do not know them. Go back to the old number, or stop the "
            "workers and run `hypercare state reset --all`: every release under "
            "judgement begins anew"
        )
    if bounds.start > manifest.next_offset:
        raise Blind(
            f"the log begins at offset {bounds.start}, the state needs "
            f"{manifest.next_offset}: retention deleted records that were never "
            "counted. Stop the workers and run `hypercare state rebuild` to read what "
            "is left, or `hypercare state reset` to begin at the log's end"
        )
    if bounds.end < manifest.next_offset:
        raise Blind(recreated(bounds.end, manifest.next_offset))
    return manifest.next_offset


def _ordered(ordered: int, bounds: Bounds) -> int:
    if ordered == FROM_START:
        return bounds.start
    if ordered > bounds.end:
        raise Blind(
            f"the partition was told to begin at offset {ordered}, the log ends at "
            f"{bounds.end}: the topic was created anew since then. Run `hypercare "
            "state reset` or `hypercare state rebuild` once more"
        )
    # An empty state misses nothing if retention has moved on since the order.
    return max(ordered, bounds.start)
