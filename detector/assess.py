"""Closed windows into evidence: all due windows of a round in one kernel call.

``prepare`` lines the arms up, ``feeding`` updates every touched row of every scope of
the round at once; ``reading`` says what decisions look at.
"""

from __future__ import annotations

from typing import NamedTuple

from detector.alone import Joint, leaves_none
from detector.changes import close_apart, watch_components
from detector.comparing import (
    by_stratum,
    compare_errors,
    compare_signal,
    plan_of,
    rivals_of,
    sole_component,
)
from detector.counting import kept_errors, kept_usage, ledger_values
from detector.evidence.rows import RateRatioRows
from detector.feeding import Prepared
from detector.funnel import note_steps
from detector.history import History
from detector.looking import note_control
from detector.partcounts import note_parts, watch_parts
from detector.rulebook import InForce
from detector.scope import Scope, Track, Watch
from detector.series import (
    Series,
    initial_segments,
    initial_weights,
    segments_of,
)
from detector.signals.census import Aside
from detector.signals.cohort import is_slow
from detector.signals.errors import Comparison, WindowFacts
from detector.signals.oddclients import read_window, set_aside
from detector.signals.table import COMPARED
from detector.signals.telemetry import is_silent, troubles
from detector.windows import OpenWindow


class Closed(NamedTuple):
    """A closed window: what the kernel is fed, and the signatures that do not count.

    ``aside`` has the number of every release under watch.
    """

    prepared: list[Prepared]
    aside: dict[int, Aside]


def prepare(
    scope: Scope, window: OpenWindow, inforce: InForce, rows: RateRatioRows
) -> Closed:
    """Line up every candidate of a scope with its control in a closed window."""
    blamed = frozenset(
        name for name, watch in scope.watches.items() if watch.episode is not None
    )
    prepared = []
    aside: dict[int, Aside] = {}
    candidates = scope.registry.candidates()
    scope.catalogue.close(read_window(window, candidates), window.end_ms)
    apart = close_apart(scope.changes, window.end_ms)
    for release in candidates:
        watch = scope.watches.get(release.name)
        if watch is None:
            continue
        groups = scope.registry.control_of(release, blamed)
        plan, drop = plan_of(scope, watch, release, window, apart, groups)
        odd = aside[release.number] = set_aside(scope.catalogue, release.number)
        found, seen = compare_errors(plan, watch, odd)
        _note_coverage(watch, window.end_ms, seen)
        if "usage" not in scope.last_event_ms and any(
            number == release.number for number, _ in window.durations
        ):
            watch.last_usage_ms = window.end_ms  # a service of durations alone
        joint = Joint(seen.candidate_units, seen.beside_units)
        note_control(watch, release, window, scope.width_ms, joint)
        rivals = rivals_of(scope, watch)
        explained = rivals.pooled and rivals.leader is not None
        for biased in watch.tracks.values() if drop or explained else ():
            _forget_track(biased, rows)
        watch.slow = is_slow(scope, inforce.rule, release)
        if watch.slow:
            found = []
            _forget_track(watch.errors, rows)
        note_parts(scope, watch, release, window, apart, groups, odd)
        if explained:  # what another change did is not counted against this one
            found = []
        health = scope.health.get(release.number)
        watch.troubles = troubles(health) if health else ()
        present = bool(seen.candidate_usage_lines or seen.candidate_bad_lines)
        prepared += _prepare_track(
            scope, watch.errors, window, inforce, rows, found, present
        )
        for signal in COMPARED if not explained else ():
            for name, each in compare_signal(plan, signal):
                track = watch.tracks.get(name)
                if track is not None:
                    prepared += _prepare_track(
                        scope, track, window, inforce, rows, each, bool(each)
                    )
    if scope.changes.counts_apart:
        still = scope.registry.candidates()
        watch_components(scope.changes, still, window.end_ms)
        watch_parts(scope.changes, still)
    planned = {release.number: leaves_none(release.weight) for release in candidates}
    scope.latency.close(window.end_ms, scope.width_ms, window.durations, planned)
    note_steps(scope.steps, window.steps)
    _note_sample_rates(scope, window)
    _note_ledger(scope, window, aside)
    return Closed(prepared, aside)


def _forget_track(track: Track, rows: RateRatioRows) -> None:
    """Drop evidence that has turned out biased: late failures, or another's doing."""
    if track.joint_windows:
        rows.reset([one.row for one in track.series.series])
        track.history, track.joint_windows = History(), 0


def _prepare_track(
    scope: Scope,
    track: Track,
    window: OpenWindow,
    inforce: InForce,
    rows: RateRatioRows,
    found: list[Comparison],
    present: bool,
) -> list[Prepared]:
    if present:
        _open_series(scope, track, inforce, rows, found)
    joint = [c for c in found if c.units_candidate > 0 and c.units_control > 0]
    if not joint:
        return []
    start_ms = window.end_ms - scope.width_ms
    silent = _control_is_silent(track, joint)
    _note_joint(track, joint, start_ms, window.end_ms)
    return [Prepared(track, start_ms, window.end_ms, joint, silent)]


def _control_is_silent(track: Track, joint: list[Comparison]) -> bool:
    """Whether the control's failures seem to be late or lost in this window."""
    if track.units_control <= 0:
        return False
    units = sum(c.units_control for c in joint)
    expected = units * track.bad_control / track.units_control
    return is_silent(sum(c.bad_control for c in joint), expected)


def _note_coverage(watch: Watch, end_ms: int, seen: WindowFacts) -> None:
    if seen.candidate_units > 0:
        watch.last_usage_ms = end_ms
        watch.errors_only_windows = watch.errors_only_lines = 0
    elif seen.candidate_bad_lines:
        watch.errors_only_windows += 1
        watch.errors_only_lines += seen.candidate_bad_lines
    if seen.control_units > 0 and seen.candidate_units > 0:
        watch.control_windows += 1
    if seen.mismatched_strata:
        watch.mismatched_windows += 1
    elif seen.joint_strata:
        watch.mismatched_windows = 0


def _note_joint(
    track: Track, joint: list[Comparison], start_ms: int, end_ms: int
) -> None:
    track.joint_windows += 1
    track.way = joint[0].way
    track.control = tuple(sorted({n for c in joint for n in c.control}))
    for c in joint:
        track.units_candidate += c.units_candidate
        track.bad_candidate += c.bad_candidate
        track.units_control += c.units_control
        track.bad_control += c.bad_control
    track.history.add(start_ms, end_ms, by_stratum(joint))


def _note_ledger(scope: Scope, window: OpenWindow, aside: dict[int, Aside]) -> None:
    """Keep the window's counts for questions about time."""
    ledger = scope.ledger
    ledger.set_width(scope.width_ms)
    scope.maturity.set_width(scope.width_ms)
    before = ledger.newest_ms // ledger.coarse_ms
    sole = sole_component(scope) if scope.changes.watched else None
    for key in sorted(window.cells):
        if not (window.cells[key].usage_lines or window.cells[key].error_lines):
            continue
        release, stratum = key
        values = ledger_values(
            window.cells[key],
            scope.error_rates.get(release, 1.0),
            aside.get(release, {}).get(stratum, frozenset()),
        )
        ledger.add(window.end_ms, (sole or release, stratum), values)
    if ledger.newest_ms // ledger.coarse_ms > before:
        ledger.forget()
        scope.maturity.forget()


def _note_sample_rates(scope: Scope, window: OpenWindow) -> None:
    """Remember the shares of errors and usage that survive sampling, per release."""
    for release, stratum in sorted(window.cells):
        cell = window.cells[release, stratum]
        errors, usage = kept_errors(cell), kept_usage(cell)
        if errors is not None:
            scope.error_rates[release] = errors
        if usage is not None:
            scope.usage_rates[release] = usage
    alive = set(scope.registry.names_of)
    if scope.registry.evicted > scope.evicted or any(
        number not in alive for number, _ in window.cells
    ):
        scope.evicted = scope.registry.evicted
        scope.catalogue.forget(alive)
        scope.latency.forget_releases(alive)


def _open_series(
    scope: Scope,
    track: Track,
    inforce: InForce,
    rows: RateRatioRows,
    found: list[Comparison],
) -> None:
    """Enumerate the series at first sight; later strata may add late ones."""

    persistence_ms = inforce.rule.persistence_ms

    def allocate() -> int:
        return int(rows.allocate(1, persistence_ms=persistence_ms)[0])

    if not track.series.series:
        segments = initial_segments(scope.strata)
        weights = initial_weights(segments)
        fresh = rows.allocate(len(segments), persistence_ms=persistence_ms).tolist()
        track.series.series = [
            Series(segment, row, weight)
            for segment, row, weight in zip(segments, fresh, weights, strict=True)
        ]
        track.series.known_strata = scope.strata.next_number
    unfed = [c.stratum for c in found if c.stratum not in track.series.of_stratum]
    if not unfed:
        return
    keys = scope.strata.key_of()
    tested = track.series.segments()
    varied = scope.strata.varied()
    for stratum in dict.fromkeys(unfed):
        segments = segments_of(scope.strata.attrs, keys.get(stratum, ()))
        if stratum < track.series.known_strata:
            segments = [s for s in segments if s in tested]
        else:
            segments = [s for s in segments if all(a in varied for a, _ in s)]
        track.series.feed(stratum, segments, allocate)
