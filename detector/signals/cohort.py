"""Failures that are told late: units of equal maturity in both arms."""

from __future__ import annotations

import math

from detector.evidence.cohort import THRESHOLD, Arm, CohortExcess, cohort_excess
from detector.findings import Finding
from detector.maturity import KEPT_MS, Maturity
from detector.releases import Release
from detector.rulefile import Rule
from detector.scope import Scope
from detector.sight import Sight

NAME = "cohort"


def look(sight: Sight) -> list[Finding]:
    """What the cohorts say after this window; nothing where nothing comes late."""
    return look_with(sight, sight.scope.maturity)


def look_with(sight: Sight, maturity: Maturity) -> list[Finding]:
    """The same with the counts of the slow source given."""
    release = sight.release
    if not is_slow(sight.scope, sight.rule, release) or release.started_ms < 0:
        return []
    # A cohort is a bin: nothing new is worth a look before the next one.
    # Late failures change old cohorts at any time: what was seen is part of the state.
    at = maturity.clock_ms // maturity.bin_ms
    if sight.watch.cohort_bin != at:
        sight.watch.cohort_bin = at
        sight.watch.cohorts = _look_at(sight, maturity)
    return sight.watch.cohorts


def is_slow(scope: Scope, rule: Rule, release: Release) -> bool:
    """Whether failures of this release are to be compared as cohorts, and only so.

    The rule names the source as one that may be slow, and lateness was seen.
    """
    named = rule.slow_delay_h(scope.service, release.strategy) > 0
    return named and scope.maturity.is_slow


def control_numbers(sight: Sight, maturity: Maturity) -> set[int]:
    """Releases whose units stand for what is usual.

    The predecessor where it has told enough, as other old releases may differ
    from it; else all that were live.
    """
    blamed = frozenset(
        name
        for name, watch in sight.scope.watches.items()
        if watch.episode is not None and name != sight.release.name
    )
    groups = sight.scope.registry.control_of(sight.release, blamed)
    counted = {release for release, _ in maturity.strips}
    return next(
        (set(group) & counted for group in groups if set(group) & counted), set()
    )


def _look_at(sight: Sight, maturity: Maturity) -> list[Finding]:
    own = {sight.release.number}
    control = control_numbers(sight, maturity)
    unit = maturity.comparable(own | control)
    if not control or unit is None:
        return []
    start_ms = max(0, maturity.clock_ms - KEPT_MS)
    ages_h = maturity.ages_h(start_ms)
    strata = sorted({stratum for _, stratum in maturity.strips})
    everyone = {release for release, _ in maturity.strips} - own
    margin = sight.rule.signals["errors"].margin
    found = cohort_excess(
        ages_h,
        _since(sight.release, maturity, start_ms, maturity.arm(own, strata, start_ms)),
        maturity.arm(control, strata, start_ms),
        maturity.arm(everyone, strata, start_ms),
        math.log(margin),
    )
    if found is None:
        return []
    first = -(-start_ms // maturity.bin_ms) + found.start
    onset_ms = max(sight.release.started_ms, first * maturity.bin_ms)
    return [_finding(found, onset_ms, unit, margin)]


def _since(release: Release, maturity: Maturity, start_ms: int, arm: Arm) -> Arm:
    """Without units from before the start: those were testers, not this release's."""
    first = -(-start_ms // maturity.bin_ms)
    skipped = max(0, release.started_ms // maturity.bin_ms - first)
    arm.units[:, :skipped] = 0.0
    arm.crashes[:, :skipped] = 0.0
    return arm


def _finding(found: CohortExcess, onset_ms: int, unit: str, margin: float) -> Finding:
    return Finding(
        signal="errors",
        control="cohort",
        guarantee="empirical",
        reason="error_rate_up",
        z=found.z,
        threshold=THRESHOLD,
        fires=found.z >= THRESHOLD and found.present,
        segment=(),
        ratio=(found.low, found.ratio, found.high),
        counts=(found.units, found.bad, found.control_units, found.control_bad),
        onset_ms=onset_ms,
        unit=unit,
        margin=margin,
        detail=found.control,
    )
