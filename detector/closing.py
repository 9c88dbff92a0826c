"""Windows are closed as soon as the watermark is far enough past their ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from detector.assess import prepare
from detector.feeding import add_evidence
from detector.intake import HOUR_MS
from detector.looking import look_around
from detector.records import Outputs
from detector.scope import Scope
from detector.steps import note

if TYPE_CHECKING:
    from detector.engine import Partition


class Due(NamedTuple):
    """A scope at the end of a record that may have made windows of it due.

    ``offset`` and ``arrival_ms`` are the record's, ``outputs`` takes what it makes
    the scope say.
    """

    scope: Scope
    offset: int
    arrival_ms: int
    outputs: Outputs


def close_due(partition: Partition, moments: Sequence[Due]) -> None:
    """Close every due window of some scopes, a round at a time.

    A round takes the oldest due window of each scope, so that one kernel call
    serves all of them; a scope's own windows still close in order. Each scope comes
    at most once; those of a record in the order in which it touched them.
    """
    limits = {due.scope.key: partition.limit_ms(due.scope) for due in moments}
    moments = [d for d in moments if limits[d.scope.key] > d.scope.closed_until_ms]
    seen: set[int] = set()
    pending = moments
    while pending:
        closed = [
            (due, end_ms)
            for due in pending
            if (end_ms := _oldest(due.scope, limits[due.scope.key])) is not None
        ]
        _close_round(partition, closed)
        pending = [due for due, _ in closed]
        seen.update(id(due.scope) for due in pending)
    unseen: list[tuple[Due, int]] = []
    for due in moments:
        scope = due.scope
        scope.closed_until_ms = max(scope.closed_until_ms, limits[scope.key])
        scope.seen_bad.forget_before(scope.closed_until_ms // HOUR_MS)
        partition.dirty.add(scope.key)
        finder = partition.finders.get(scope.key)
        if finder is not None:
            finder.forget_sums()
            if not finder.sums_alone:  # what stood in the way may be gone
                del partition.finders[scope.key]
        if id(scope) not in seen:
            unseen.append((due, scope.closed_until_ms))
    partition.conclude_all(unseen)


def _oldest(scope: Scope, limit_ms: int) -> int | None:
    """End of the oldest open window that is to be closed."""
    end_ms = min(scope.open, default=None)
    return end_ms if end_ms is not None and end_ms <= limit_ms else None


def _close_round(partition: Partition, closed: Sequence[tuple[Due, int]]) -> None:
    prepared = []
    for (scope, *_), end_ms in closed:
        window = scope.open.pop(end_ms)
        partition.ids_held -= len(window.ids)
        inforce = partition.rulebook.find(*scope.key)
        found = prepare(scope, window, inforce, partition.rows)
        prepared += found.prepared
        note(partition.steps, scope.key, found.prepared)
        look_around(scope, window, found.aside, inforce, partition.caches)
        scope.closed_until_ms = max(scope.closed_until_ms, end_ms)
    add_evidence(partition.rows, prepared)
    partition.counts["windows_closed"] += len(closed)
    partition.conclude_all(closed)
