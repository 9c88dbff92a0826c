"""After a window: is there a control, and what do the other procedures find?"""

from __future__ import annotations

from typing import Any, NamedTuple

from detector.aftermath import excuse
from detector.hotfix import LOOK_EVERY_MS, still_there
from detector.releases import Release
from detector.rulebook import InForce
from detector.rulefile import Rule
from detector.scope import Scope, Watch
from detector.sight import Sight
from detector.signals import pastview
from detector.signals.table import LOOKED
from detector.windows import OpenWindow

CONTROL_SHARE_MIN = 0.03
"""Below this share of the candidate's exposure a control says nothing."""

ALONE_UNITS_MIN = 100.0
"""Units of the candidate without control before it counts as lost."""

LOST_AFTER_MS = 300_000
LOST_AFTER_WINDOWS = 3

Caches = dict[tuple[str, str, str], dict[Any, Any]]
"""Derived values by service, environment and release; never part of the state."""


class Joint(NamedTuple):
    """Units at risk of a window in the strata that the candidate serves."""

    candidate: float
    control: float


def note_control(
    watch: Watch, release: Release, window: OpenWindow, width_ms: int, joint: Joint
) -> None:
    """Note since when no concurrent control is left beside a release.

    The control is lost when over five minutes, at least three windows, it had next
    to no exposure in the strata the candidate serves; at once where the plan leaves
    it none. It is back at once, too. With a few units a window the arms miss each
    other by chance, so that enough of the candidate's must have been alone.
    """
    if joint.candidate <= 0:
        return
    if joint.control >= CONTROL_SHARE_MIN * joint.candidate:
        watch.alone_since_ms = watch.control_lost_ms = -1
        watch.alone_units = 0.0
        return
    if watch.alone_since_ms < 0:
        watch.alone_since_ms = window.end_ms - width_ms
    watch.alone_units += joint.candidate
    if watch.alone_units < ALONE_UNITS_MIN:
        return
    long_ms = max(LOST_AFTER_MS, LOST_AFTER_WINDOWS * width_ms)
    planned = release.weight is not None and release.weight > 1 - CONTROL_SHARE_MIN
    never_had = watch.control_windows == 0
    if planned or never_had or window.end_ms - watch.alone_since_ms >= long_ms:
        watch.control_lost_ms = watch.alone_since_ms


def look_around(
    scope: Scope, window: OpenWindow, inforce: InForce, caches: Caches
) -> None:
    """Let every procedure that needs more than one window look at each release."""
    for release in scope.registry.candidates():
        watch = scope.watches.get(release.name)
        if watch is None:
            continue
        cache = caches.setdefault((*scope.key, release.name), {})
        sight = Sight(scope, watch, release, inforce.rule, window.end_ms, window, cache)
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
