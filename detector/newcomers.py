"""Who is let into a scope, and what is dropped with the release that makes room.

A scope remembers much by the number of a release. Names that a scanner makes up come
by the thousand, within one window too, so what is kept of one goes at once: its open
counts join those of nobody in particular (`FOLDED`), so that totals stay right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from detector.durations import Durations
from detector.events import Deploy
from detector.funnel import Steps
from detector.ledger import FOLDED
from detector.releases import Release
from detector.scope import Scope
from detector.windows import Cell, OpenWindow

Key = tuple[int, int]
Counts = TypeVar("Counts", Cell, Durations, Steps)


def admit(scope: Scope, name: str, now_ms: int) -> Release:
    """The release of that name, known or new."""
    evicted = scope.registry.evicted
    release = scope.registry.admit(name, now_ms)
    if scope.registry.evicted != evicted:
        _forget(scope, scope.registry.last_evicted)
    return release


def deploy(scope: Scope, event: Deploy) -> None:
    """Apply a deploy event, which may name a release for the first time."""
    evicted = scope.registry.evicted
    scope.registry.on_deploy(event)
    if scope.registry.evicted != evicted:
        _forget(scope, scope.registry.last_evicted)


def _forget(scope: Scope, number: int) -> None:
    """Drop what a scope knows of a release that its registry has let go."""
    for known in (
        scope.health,
        scope.holds_ms,
        scope.error_rates,
        scope.usage_rates,
    ):
        known.pop(number, None)
    strata = range(scope.strata.next_number)
    for window in _open_windows(scope):
        _fold(window.cells, number, strata, Cell)
        _fold(window.durations, number, strata, Durations)
        _fold(window.steps, number, strata, Steps)
    scope.maturity.forget_release(number)
    scope.ledger.fold_release(number)


def _open_windows(scope: Scope) -> list[OpenWindow]:
    apart = [w for windows in scope.changes.open.values() for w in windows.values()]
    return [*scope.open.values(), *apart]


def _fold(
    counts: dict[Key, Counts], number: int, strata: range, new: Callable[[], Counts]
) -> None:
    for stratum in strata:
        gone = counts.pop((number, stratum), None)
        if gone is not None:
            counts.setdefault((FOLDED, stratum), new()).absorb(gone)
