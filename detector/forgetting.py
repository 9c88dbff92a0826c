"""Who makes room where a partition remembers as many scopes as it may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.episodes import retire
from detector.scope import Scope

if TYPE_CHECKING:
    from detector.engine import Partition


def forget_silent(partition: Partition) -> None:
    """Forget the scope that is silent longest, one without a watch if there is."""
    idle = [s for s in partition.scopes.values() if not s.watches]
    if not idle:
        idle = list(partition.scopes.values())
    victim = min(idle, key=lambda s: (s.watermark_ms, s.key))
    for name in list(victim.watches):
        retire(victim, name, partition.rows)
    partition.caches.pop(victim.key, None)
    partition.ids_held -= open_ids(victim)
    del partition.scopes[victim.key]
    partition.finders.pop(victim.key, None)
    known = partition.by_service[victim.service]
    known.remove(victim.key)
    if not known:
        del partition.by_service[victim.service]
    partition.gone.add(victim.key)
    partition.turns.forget(victim.key)
    partition.steps.pop(victim.key, None)
    partition.dirty.discard(victim.key)
    partition.counts["overflow.scopes"] += 1


def open_ids(scope: Scope) -> int:
    """Ids that the open windows of a scope remember."""
    return sum(len(window.ids) for window in scope.open.values())
