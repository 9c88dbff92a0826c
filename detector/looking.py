"""After a window: is there a control, and what do the other procedures find?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detector.aftermath import excuse
from detector.alone import Alone, Joint, after_window, leaves_none
from detector.hotfix import LOOK_EVERY_MS, still_there
from detector.releases import Release
from detector.rulebook import InForce
from detector.rulefile import Rule
from detector.scope import Scope, ScopeKey, Watch
from detector.sight import Sight
from detector.signals import pastview
from detector.signals.census import Aside
from detector.signals.table import LOOKED
from detector.windows import OpenWindow

Caches = dict[ScopeKey, dict[str, dict[Any, Any]]]
"""Derived values by service and environment, then release; never part of the state."""


def note_control(
    watch: Watch, release: Release, window: OpenWindow, width_ms: int, joint: Joint
) -> None:
    """Note since when no concurrent control is left beside a release.

    ``joint`` are the units at risk in the strata that the candidate serves.
    """
    before = Alone(watch.alone_since_ms, watch.alone_units, watch.control_lost_ms)
    at_once = leaves_none(release.weight) or watch.control_windows == 0
    now = after_window(before, joint, window.end_ms, width_ms, at_once=at_once)
    watch.alone_since_ms, watch.alone_units, watch.control_lost_ms = now


def look_around(
    scope: Scope,
    window: OpenWindow,
    aside: Mapping[int, Aside],
    inforce: InForce,
    caches: Caches,
) -> None:
    """Let every procedure that needs more than one window look at each release.

    ``aside`` are the signatures that do not count, by number of the release.
    """
    of_scope = caches.setdefault(scope.key, {})
    for ended in of_scope.keys() - scope.watches.keys():
        del of_scope[ended]
    for release in scope.registry.candidates():
        watch = scope.watches.get(release.name)
        if watch is None:
            continue
        cache = of_scope.setdefault(release.name, {})
        odd = aside[release.number]
        sight = Sight(
            scope, watch, release, inforce.rule, window.end_ms, window, odd, cache
        )
        found = [
            f
            for signal in LOOKED
            for f in signal.look(sight)
            if _is_on(inforce.rule, f.signal)
        ]
        way_back = scope.aftermaths.get(release.name)
        watch.findings = excuse(way_back, found, window.end_ms)
        watch.exonerated = any(f.fires for f in found) and watch.findings != found
        _note_past(sight)
        before_ms = window.end_ms - scope.width_ms
        if window.end_ms // LOOK_EVERY_MS != before_ms // LOOK_EVERY_MS:
            watch.unfixed = still_there(scope, release)


def _is_on(rule: Rule, signal: str) -> bool:
    """Whether a rule leaves a signal in; what it does not know always is."""
    known = rule.signals.get(signal)
    return known is None or known.weight > 0


def _note_past(sight: Sight) -> None:
    """Note how long a past a release has that no other runs beside any more."""
    watch = sight.watch
    judged = watch.control_lost_ms >= 0 and sight.scope.ledger.coarse_ms > 0
    watch.past_ms, watch.has_past = -1, False
    if judged and not sight.release.flips:
        span = pastview.span_of(sight)
        watch.past_ms = max(0, span.flip_ms - span.start_ms)
        watch.has_past = pastview.has_history(sight)
