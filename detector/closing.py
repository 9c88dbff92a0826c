"""Windows are closed as soon as the watermark is far enough past their ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from detector.assess import add_evidence, prepare
from detector.intake import HOUR_MS
from detector.looking import look_around
from detector.records import Outputs
from detector.scope import Scope, ScopeKey
from detector.steps import note

if TYPE_CHECKING:
    from detector.engine import Partition


def close_due(
    partition: Partition, touched: Iterable[ScopeKey], offset: int, outputs: Outputs
) -> None:
    """Close every due window of the touched scopes, a round at a time.

    A round takes the oldest due window of each scope, so that one kernel call
    serves all of them; a scope's own windows still close in order.
    """
    due = [partition.scopes[key] for key in touched if key in partition.scopes]
    moved = {s.key: partition.limit_ms(s) for s in due}
    due = [s for s in due if moved[s.key] > s.closed_until_ms]
    looked: set[ScopeKey] = set()
    pending = due
    while pending:
        pending = _close_round(partition, pending, moved, looked, offset, outputs)
    unseen: list[tuple[Scope, int]] = []
    for scope in due:
        scope.closed_until_ms = max(scope.closed_until_ms, moved[scope.key])
        scope.seen_bad.forget_before(scope.closed_until_ms // HOUR_MS)
        partition.dirty.add(scope.key)
        partition.finders.pop(scope.key, None)
        if scope.key not in looked:
            unseen.append((scope, scope.closed_until_ms))
    partition.conclude_all(unseen, offset, outputs)


def _close_round(
    partition: Partition,
    pending: list[Scope],
    limits: dict[ScopeKey, int],
    looked: set[ScopeKey],
    offset: int,
    outputs: Outputs,
) -> list[Scope]:
    prepared = []
    closed: list[tuple[Scope, int]] = []
    for scope in pending:
        ends = [end for end in scope.open if end <= limits[scope.key]]
        if not ends:
            continue
        end_ms = min(ends)
        window = scope.open.pop(end_ms)
        partition.ids_held -= len(window.ids)
        inforce = partition.rulebook.find(*scope.key)
        found = prepare(scope, window, inforce, partition.rows)
        prepared += found.prepared
        note(partition.steps, scope.key, found.prepared)
        look_around(scope, window, found.aside, inforce, partition.caches)
        scope.closed_until_ms = max(scope.closed_until_ms, end_ms)
        closed.append((scope, end_ms))
    add_evidence(partition.rows, prepared)
    partition.counts["windows_closed"] += len(closed)
    looked.update(scope.key for scope, _ in closed)
    partition.conclude_all(closed, offset, outputs)
    return [scope for scope, _ in closed]
