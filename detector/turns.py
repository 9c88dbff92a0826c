"""Scopes are written in turns: which ones a snapshot holds, and how a restore makes up.

Where much changes between two snapshots, each writes only some of what changed, those
that wait longest first. What is left out is as an earlier snapshot had it. So a restore
reads the log again from the oldest of these offsets on, and every scope leaves out
what its block holds already: scopes do not depend on each other, so each of them
takes the same records as before, and nothing that left is said again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from detector.records import LogRecord, Outputs
from detector.scope import ScopeKey

if TYPE_CHECKING:
    from detector.engine import Partition

TURNS = 10
"""Snapshots after which a scope that changed is written, twice as many where very many
say something. More: cheaper snapshots, and more of the log to read again after a
crash."""

SCOPES_MIN = 256
"""Scopes that any snapshot writes: fewer are not worth reading the log again."""


class Saved(NamedTuple):
    """A snapshot: where it was taken, and the rows that were not only fed before it."""

    offset: int
    arrival_ms: int
    moved: frozenset[int] = frozenset()


class Turns:
    """Who waits for a snapshot, and who is ahead of the log after a restore.

    Attributes
    ----------
    behind : dict
        Scopes that were left out, in the order of the offsets up to which the state
        topic has them.
    said : set of ScopeKey
        Scopes whose outputs the next snapshot lets go: it holds these first, so that
        what was said hardly ever stands in the log alone.
    moved : set of int
        Rows that were not only fed before the newest snapshot, but since some scope
        was written.
    together : bool
        Whether the next snapshot must hold everything: something changed that scopes
        have in common.
    saved : list of Saved
        The newest snapshot, and before it those that a scope in ``behind`` is at.
    applied : dict
        Scopes that are ahead after a restore, and up to which offset.
    bounds : list of int
        These offsets, ascending, and the one of the snapshot; empty once all is even.
    skipped : frozenset of ScopeKey
        Scopes that know the records that are being applied.
    """

    def __init__(self, offset: int = 0, arrival_ms: int = -1) -> None:
        self.behind: dict[ScopeKey, int] = {}
        self.said: set[ScopeKey] = set()
        self.moved: set[int] = set()
        self.together = False
        self.saved = [Saved(offset, arrival_ms)]
        self.applied: dict[ScopeKey, int] = {}
        self.bounds: list[int] = []
        self.skipped: frozenset[ScopeKey] = frozenset()

    def choose(
        self, partition: Partition, named: Collection[ScopeKey], *, everything: bool
    ) -> list[ScopeKey]:
        """The changed scopes that a snapshot writes now, in order."""
        dirty = partition.dirty
        most = max(SCOPES_MIN, -(-len(partition.scopes) // TURNS))
        if everything or self.together or len(dirty) <= most:
            return sorted(dirty)
        chosen = dirty.intersection(named)
        chosen.update(sorted(self.said & dirty)[: most // 2])
        waiting = (key for key in self.behind if key not in chosen)
        chosen.update(islice(waiting, max(0, most - len(chosen))))
        if len(chosen) < most:
            fresh = sorted(dirty - self.behind.keys() - chosen)
            chosen.update(fresh[: most - len(chosen)])
        return sorted(chosen)

    def start(self, partition: Partition, written: Collection[ScopeKey]) -> Saved:
        """From where the log is read again once a snapshot holds these scopes."""
        for key, offset in self.behind.items():
            if key not in written:
                return next(s for s in self.saved if s.offset == offset)
        if len(written) < len(partition.dirty):
            return self.saved[-1]
        return Saved(partition.next_offset, partition.arrival_ms)

    def note(self, partition: Partition, written: Collection[ScopeKey]) -> None:
        """Remember that a snapshot holds these scopes, and forget what it settles."""
        for key in written:
            self.behind.pop(key, None)
        partition.dirty.difference_update(written)
        self.said.difference_update(written)
        self.together = False
        for key in sorted(partition.dirty - self.behind.keys()):
            self.behind[key] = self.saved[-1].offset
        rewritten = partition.rows.rewritten
        offset, arrival_ms = partition.next_offset, partition.arrival_ms
        now = Saved(offset, arrival_ms, frozenset(rewritten))
        oldest = next(iter(self.behind.values()), offset)
        self.saved = [s for s in (*self.saved, now) if s.offset >= oldest]
        self.moved = set().union(*(s.moved for s in self.saved if s.offset > oldest))
        rewritten.clear()

    def forget(self, key: ScopeKey) -> None:
        """A scope makes room for another: who goes is decided by looking at all."""
        self.together = True
        self.behind.pop(key, None)
        self.said.discard(key)

    def applied_at(self, next_offset: int, start: Saved) -> Callable[[ScopeKey], int]:
        """Says up to which offset a scope is, 0 if a restore begins no earlier."""
        if start.offset == self.head(next_offset):
            return lambda key: 0
        return lambda key: max(next_offset, self.applied.get(key, 0))

    def head(self, next_offset: int) -> int:
        """Offset up to which the scopes that are furthest know the log."""
        return max(self.bounds[-1], next_offset) if self.bounds else next_offset


def catch_up(partition: Partition, records: Sequence[LogRecord]) -> Sequence[LogRecord]:
    """Apply records that some scopes know to the others; gives those nobody knows.

    What they put out is in the outbox of the snapshot or has left, and what they
    counted is in its counts.
    """
    turns, counts = partition.turns, partition.counts
    while records and turns.bounds:
        bound = turns.bounds[0]
        if records[0].offset >= bound:
            del turns.bounds[0]
            continue
        count = sum(record.offset < bound for record in records)
        turns.skipped = frozenset(k for k, at in turns.applied.items() if at >= bound)
        partition.counts = Counter()
        try:
            partition.apply_fresh(records[:count], Outputs())
        finally:
            partition.counts, turns.skipped = counts, frozenset()
        records = records[count:]
    if turns.bounds == [partition.next_offset]:
        turns.bounds.clear()
    if not turns.bounds:
        turns.applied.clear()
    return records


def resume(partition: Partition, head: int, applied: dict[ScopeKey, int]) -> None:
    """Begin where the scopes that are behind are, in a restored partition."""
    start = partition.next_offset
    turns = partition.turns = Turns(start, partition.arrival_ms)
    turns.applied = {key: at for key, at in applied.items() if at > start}
    turns.bounds = sorted({*turns.applied.values(), head}) if head > start else []
