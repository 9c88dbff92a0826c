"""Closed windows into evidence: all due windows of a round in one kernel call.

``prepare`` lines the arms up, ``add_evidence`` updates every touched row of every
scope of the round at once, ``facts_of_all`` reads off what decisions look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log
from typing import Any, NamedTuple

import numpy as np

from detector.combine import release_log_e
from detector.decide import Facts
from detector.evidence.confidence import ratio_log_likelihood
from detector.evidence.rate_ratio import (
    excess_bad,
    increments,
    recovery_increments,
    robust_increments,
    sum_cells,
)
from detector.evidence.rows import RateRatioRows
from detector.funnel import note_steps
from detector.history import History
from detector.looking import Joint, note_control
from detector.releases import RELEASES_MAX, Registry
from detector.rulebook import InForce
from detector.scope import Scope, Track, Watch
from detector.series import (
    Series,
    SeriesSet,
    initial_segments,
    initial_weights,
    segments_of,
)
from detector.signals.cohort import is_slow
from detector.signals.errors import UNIT_WORDS, Comparison, Known, WindowFacts
from detector.signals.oddclients import read_window, set_aside
from detector.signals.table import COMPARED, ERRORS
from detector.signals.telemetry import is_silent
from detector.windows import OpenWindow, kept_errors, ledger_values

CONFIDENCE_ALPHA = 0.05
RECOVERED_LOG_E = log(100.0)
PLAIN_RATIO = (0.0, 1.0, float("inf"))


class Prepared(NamedTuple):
    """One signal of one candidate in one closed window, ready for the kernel."""

    track: Track
    start_ms: int
    end_ms: int
    comparisons: list[Comparison]
    silent: bool = False


def prepare(
    scope: Scope, window: OpenWindow, inforce: InForce, rows: RateRatioRows
) -> list[Prepared]:
    """Line up every candidate of a scope with its control in a closed window."""
    blamed = frozenset(
        name for name, watch in scope.watches.items() if watch.episode is not None
    )
    prepared = []
    candidates = scope.registry.candidates()
    scope.catalogue.close(read_window(window, candidates), window.end_ms)
    for release in candidates:
        watch = scope.watches.get(release.name)
        if watch is None:
            continue
        groups = scope.registry.control_of(release, blamed)
        known = Known(
            scope.error_rates,
            scope.health,
            watch.errors.hits,
            set_aside(scope.catalogue, release.number),
        )
        found, seen = ERRORS.compare(window, release, groups, known)
        _note_coverage(watch, window.end_ms, seen)
        joint = Joint(seen.candidate_units, seen.beside_units)
        note_control(watch, release, window, scope.width_ms, joint)
        if is_slow(scope, inforce.rule, release):
            found = []
            _forget_track(watch.errors, rows)
        present = bool(seen.candidate_usage_lines or seen.candidate_bad_lines)
        prepared += _prepare_track(
            scope, watch.errors, window, inforce, rows, found, present
        )
        for signal in COMPARED:
            for name, each in signal.compare(scope, window, release, groups):
                track = watch.tracks.get(name)
                if track is not None:
                    prepared += _prepare_track(
                        scope, track, window, inforce, rows, each, bool(each)
                    )
    numbers = [release.number for release in candidates]
    scope.latency.close(window.end_ms, scope.width_ms, window.durations, numbers)
    note_steps(scope.steps, window.steps)
    _note_error_rates(scope, window)
    _note_ledger(scope, window)
    return prepared


def _forget_track(track: Track, rows: RateRatioRows) -> None:
    """Failures have turned out to come late: what windows said of them is biased."""
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


def add_evidence(rows: RateRatioRows, prepared: list[Prepared]) -> None:
    """Update the rows of all series of all prepared candidates in one call."""
    if not prepared:
        return
    cells = [c for p in prepared for c in p.comparisons]
    margins = [p.track.margin for p in prepared for _ in p.comparisons]
    cell_of, line_of, lines = _membership(prepared)
    counts = np.array(
        [
            (c.bad_candidate, c.bad_control, c.units_candidate, c.units_control)
            for c in cells
        ]
    ).T
    margin = np.array(margins)
    evidence = increments(*counts, margin=margin)
    clustered = np.array([c.clustered for c in cells])
    if clustered.any():
        evidence[clustered] = robust_increments(
            *counts[:, clustered], margin=margin[clustered]
        )
    silent = np.array([p.silent for p in prepared for _ in p.comparisons])
    if silent.any():  # a minimum with 0 keeps a supermartingale one
        evidence[silent] = np.minimum(evidence[silent], 0.0)
    totals = np.column_stack(
        (counts[0], counts[2], counts[1], counts[3], excess_bad(*counts))
    )
    size = len(lines)
    rows.update(
        np.array([row for row, _, _ in lines]),
        sum_cells(evidence[cell_of], line_of, size),
        sum_cells(ratio_log_likelihood(*counts)[cell_of], line_of, size),
        window_start_ms=np.array([start for _, start, _ in lines]),
        window_end_ms=np.array([end for _, _, end in lines]),
        recovery=sum_cells(
            recovery_increments(*counts, margin=margin)[cell_of], line_of, size
        ),
        totals=sum_cells(totals[cell_of], line_of, size),
    )


class Lead(NamedTuple):
    """The series that carries most of a release's evidence."""

    track: Track
    place: int


def leading_series(watch: Watch, rows: RateRatioRows) -> Lead | None:
    """Where most of the evidence is; None before any series is open."""
    lines = _lines(watch)
    if not lines:
        return None
    log_e = rows.log_evidence([row for _, _, row, _ in lines])
    weights = np.array([weight for *_, weight in lines])
    track, place, _, _ = lines[int(np.argmax(log_e + np.log(weights)))]
    return Lead(track, place)


def series_log_e(track: Track, rows: RateRatioRows) -> np.ndarray:
    """Evidence of each series of a signal, in the order of its series."""
    return rows.log_evidence([s.row for s in track.series.series])


class Reading(NamedTuple):
    """What the rows of one watch say now."""

    signal: str
    log_e: float
    persistent: bool
    recovered: bool
    ratio: tuple[float, float, float]


def facts_of(watch: Watch, rows: RateRatioRows, inforce: InForce, now_ms: int) -> Facts:
    """What a decision about this watch looks at, as of now."""
    return facts_of_all([watch], [now_ms], rows)[0]


def facts_of_all(
    watches: Sequence[Watch], now_ms: Sequence[int], rows: RateRatioRows
) -> list[Facts]:
    """The same for many watches at once, each as of its own moment.

    A watch's facts do not depend on the others: rows are read in one call only
    because a call costs as much as a hundred rows.
    """
    opened = [w for w in watches if w.rows()]
    readings = iter(_read(opened, rows) if opened else ())
    nothing = Reading(ERRORS.NAME, 0.0, False, False, PLAIN_RATIO)
    return [
        _facts(watch, next(readings) if watch.rows() else nothing, at_ms)
        for watch, at_ms in zip(watches, now_ms, strict=True)
    ]


def _lines(watch: Watch) -> list[tuple[Track, int, int, float]]:
    """(signal, place, row, weight) of every series of a watch."""
    return [
        (track, index, one.row, track.share * one.weight)
        for track in watch.tracks.values()
        for index, one in enumerate(track.series.series)
    ]


def _read(watches: list[Watch], rows: RateRatioRows) -> list[Reading]:
    lines = [_lines(watch) for watch in watches]
    log_e = rows.log_evidence([row for own in lines for _, _, row, _ in own])
    each: list[float] = []
    leads: list[int] = []
    signals: list[str] = []
    begin = 0
    for own in lines:
        mine = log_e[begin : begin + len(own)]
        begin += len(own)
        weights = np.array([weight for *_, weight in own])
        each.append(release_log_e(mine, weights))
        track, _, row, _ = own[int(np.argmax(mine + np.log(weights)))]
        leads.append(row)
        signals.append(track.signal)
    persistent = rows.persistent(leads).tolist()
    recovered = rows.recovered(leads, RECOVERED_LOG_E).tolist()
    whole = [own[0][2] for own in lines]
    ratios = rows.confidence(whole, CONFIDENCE_ALPHA).tolist()
    return [
        Reading(signal, e, lasts, gone, (low, point, high))
        for signal, e, lasts, gone, (low, point, high) in zip(
            signals, each, persistent, recovered, ratios, strict=True
        )
    ]


def _facts(watch: Watch, reading: Reading, now_ms: int) -> Facts:
    track = watch.errors
    return Facts(
        now_ms=now_ms,
        signal=reading.signal,
        log_e=reading.log_e,
        persistent=reading.persistent,
        recovered=reading.recovered,
        ratio=reading.ratio,
        margin=track.margin,
        units_candidate=track.units_candidate,
        units_control=track.units_control,
        last_usage_ms=watch.last_usage_ms,
        joint_windows=track.joint_windows,
        control_windows=watch.control_windows,
        errors_only_windows=watch.errors_only_windows,
        errors_only_lines=watch.errors_only_lines,
        mismatched=watch.mismatched_windows >= 3,
        findings=tuple(watch.findings),
    )


def release_rows(watch: Watch, rows: RateRatioRows) -> None:
    """Give the rows of a watch back."""
    rows.free(watch.rows())
    for track in watch.tracks.values():
        track.series = SeriesSet()


def unit_word(track: Track) -> str:
    """What one counted unit is called: session, user or request."""
    return UNIT_WORDS[track.way]


def _membership(
    prepared: Iterable[Prepared],
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int, int]]]:
    """Which cell feeds which updated row, as two parallel index arrays."""
    cell_of: list[int] = []
    line_of: list[int] = []
    lines: list[tuple[int, int, int]] = []
    cell = 0
    for item in prepared:
        series = item.track.series
        fed = [series.of_stratum[c.stratum] for c in item.comparisons]
        # Rising rows: the store takes neighbours as a slice, without copies.
        touched = sorted({index for indices in fed for index in indices})
        line_of_series = {index: len(lines) + n for n, index in enumerate(touched)}
        lines += [(series.series[i].row, item.start_ms, item.end_ms) for i in touched]
        for indices in fed:
            cell_of += [cell] * len(indices)
            line_of += [line_of_series[index] for index in indices]
            cell += 1
    return np.array(cell_of, np.int64), np.array(line_of, np.int64), lines


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
    track.history.add(
        start_ms,
        end_ms,
        {
            c.stratum: (
                c.units_candidate,
                c.bad_candidate,
                c.units_control,
                c.bad_control,
            )
            for c in joint
        },
    )


def _note_ledger(scope: Scope, window: OpenWindow) -> None:
    """Keep the window's counts for questions about time."""
    ledger = scope.ledger
    ledger.set_width(scope.width_ms)
    scope.maturity.set_width(scope.width_ms)
    before = ledger.newest_ms // ledger.coarse_ms
    for key in sorted(window.cells):
        if not (window.cells[key].usage_lines or window.cells[key].error_lines):
            continue
        values = ledger_values(window.cells[key], scope.error_rates.get(key[0], 1.0))
        ledger.add(window.end_ms, key, values)
    if ledger.newest_ms // ledger.coarse_ms > before:
        ledger.forget()
        scope.maturity.forget()


def _note_error_rates(scope: Scope, window: OpenWindow) -> None:
    """Remember the share of error records that survives sampling, per release."""
    for release, stratum in sorted(window.cells):
        rate = kept_errors(window.cells[release, stratum])
        if rate is not None:
            scope.error_rates[release] = rate
    forget_unknown(scope.error_rates, scope.registry)
    forget_unknown(scope.health, scope.registry)
    alive = set(scope.registry.names_of)
    if scope.registry.evicted > scope.evicted or any(
        number not in alive for number, _ in window.cells
    ):
        scope.evicted = scope.registry.evicted
        scope.catalogue.forget(alive)
        scope.latency.forget_releases(alive)


def forget_unknown(by_release: dict[int, Any], registry: Registry) -> None:
    """Drop releases that made room for others, once they outnumber the known."""
    if len(by_release) > 2 * RELEASES_MAX:
        for number in by_release.keys() - registry.names_of.keys():
            del by_release[number]


def _open_series(
    scope: Scope,
    track: Track,
    inforce: InForce,
    rows: RateRatioRows,
    found: list[Comparison],
) -> None:
    """Enumerate the series at first sight; later strata may add late ones."""

    def allocate() -> int:
        persistence_ms = inforce.rule.persistence_ms
        return int(rows.allocate(1, persistence_ms=persistence_ms)[0])

    if not track.series.series:
        segments = initial_segments(scope.strata)
        weights = initial_weights(segments)
        track.series.series = [
            Series(segment, allocate(), weight)
            for segment, weight in zip(segments, weights, strict=True)
        ]
        track.series.known_strata = scope.strata.next_number
    keys = scope.strata.key_of()
    tested = track.series.segments()
    varied = scope.strata.varied()
    for comparison in found:
        stratum = comparison.stratum
        if stratum in track.series.of_stratum:
            continue
        segments = segments_of(scope.strata.attrs, keys.get(stratum, ()))
        if stratum < track.series.known_strata:
            segments = [s for s in segments if s in tested]
        else:
            segments = [s for s in segments if all(a in varied for a, _ in s)]
        track.series.feed(stratum, segments, allocate)
