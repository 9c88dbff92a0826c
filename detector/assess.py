"""Closed windows into evidence: all due windows of a round in one kernel call.

``prepare`` lines the arms up, ``add_evidence`` updates every touched row of every
scope of the round at once, ``facts_of_all`` reads off what decisions look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log
from typing import NamedTuple

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
from detector.releases import RELEASES_MAX, Registry
from detector.rulebook import InForce
from detector.scope import Scope, Watch
from detector.series import (
    Series,
    SeriesSet,
    initial_segments,
    initial_weights,
    segments_of,
)
from detector.signals.errors import UNIT_WORDS, Comparison, WindowFacts, compare
from detector.windows import OpenWindow, kept_errors

CONFIDENCE_ALPHA = 0.05
RECOVERED_LOG_E = log(100.0)
PLAIN_RATIO = (0.0, 1.0, float("inf"))


class Prepared(NamedTuple):
    """One candidate in one closed window, ready for the kernel."""

    watch: Watch
    start_ms: int
    end_ms: int
    comparisons: list[Comparison]


def prepare(
    scope: Scope, window: OpenWindow, inforce: InForce, rows: RateRatioRows
) -> list[Prepared]:
    """Line up every candidate of a scope with its control in a closed window."""
    blamed = frozenset(
        name for name, watch in scope.watches.items() if watch.episode is not None
    )
    start_ms = window.end_ms - scope.width_ms
    prepared = []
    for release in scope.registry.candidates():
        watch = scope.watches.get(release.name)
        if watch is None:
            continue
        groups = scope.registry.control_of(release, blamed)
        found, seen = compare(window, release, groups, scope.error_rates)
        _note_coverage(watch, window.end_ms, seen)
        if seen.candidate_usage_lines or seen.candidate_bad_lines:
            _open_series(scope, watch, inforce, rows, found)
        joint = [c for c in found if c.units_candidate > 0 and c.units_control > 0]
        if joint:
            _note_joint(watch, joint, start_ms, window.end_ms)
            prepared.append(Prepared(watch, start_ms, window.end_ms, joint))
    _note_error_rates(scope, window)
    return prepared


def add_evidence(rows: RateRatioRows, prepared: list[Prepared]) -> None:
    """Update the rows of all series of all prepared candidates in one call."""
    if not prepared:
        return
    cells = [c for p in prepared for c in p.comparisons]
    margins = [p.watch.margin for p in prepared for _ in p.comparisons]
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


def leading_series(watch: Watch, log_e: np.ndarray) -> int:
    """Position of the series that carries most of the release's evidence."""
    weights = np.array([s.weight for s in watch.series.series])
    return int(np.argmax(log_e + np.log(weights)))


def series_log_e(watch: Watch, rows: RateRatioRows) -> np.ndarray:
    """Evidence of each series of a watch, in the order of its series."""
    return rows.log_evidence([s.row for s in watch.series.series])


class Reading(NamedTuple):
    """What the rows of one watch say now."""

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
    opened = [w for w in watches if w.series.series]
    readings = iter(_read(opened, rows) if opened else ())
    nothing = Reading(0.0, False, False, PLAIN_RATIO)
    return [
        _facts(watch, next(readings) if watch.series.series else nothing, at_ms)
        for watch, at_ms in zip(watches, now_ms, strict=True)
    ]


def _read(watches: list[Watch], rows: RateRatioRows) -> list[Reading]:
    positions = [[s.row for s in watch.series.series] for watch in watches]
    log_e = rows.log_evidence([row for own in positions for row in own])
    each: list[float] = []
    leads: list[int] = []
    begin = 0
    for watch, own in zip(watches, positions, strict=True):
        mine = log_e[begin : begin + len(own)]
        begin += len(own)
        weights = np.array([s.weight for s in watch.series.series])
        each.append(release_log_e(mine, weights))
        leads.append(own[int(np.argmax(mine + np.log(weights)))])
    persistent = rows.persistent(leads).tolist()
    recovered = rows.recovered(leads, RECOVERED_LOG_E).tolist()
    ratios = rows.confidence([own[0] for own in positions], CONFIDENCE_ALPHA).tolist()
    return [
        Reading(e, lasts, gone, (low, point, high))
        for e, lasts, gone, (low, point, high) in zip(
            each, persistent, recovered, ratios, strict=True
        )
    ]


def _facts(watch: Watch, reading: Reading, now_ms: int) -> Facts:
    return Facts(
        now_ms=now_ms,
        log_e=reading.log_e,
        persistent=reading.persistent,
        recovered=reading.recovered,
        ratio=reading.ratio,
        margin=watch.margin,
        units_candidate=watch.units_candidate,
        units_control=watch.units_control,
        last_usage_ms=watch.last_usage_ms,
        joint_windows=watch.joint_windows,
        control_windows=watch.control_windows,
        errors_only_windows=watch.errors_only_windows,
        errors_only_lines=watch.errors_only_lines,
        mismatched=watch.mismatched_windows >= 3,
    )


def release_rows(watch: Watch, rows: RateRatioRows) -> None:
    """Give the rows of a watch back."""
    rows.free([s.row for s in watch.series.series])
    watch.series = SeriesSet()


def unit_word(watch: Watch) -> str:
    """What one counted unit is called: session, user or request."""
    return UNIT_WORDS[watch.way]


def _membership(
    prepared: Iterable[Prepared],
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int, int]]]:
    """Which cell feeds which updated row, as two parallel index arrays."""
    cell_of: list[int] = []
    line_of: list[int] = []
    lines: list[tuple[int, int, int]] = []
    cell = 0
    for item in prepared:
        series = item.watch.series
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
    watch: Watch, joint: list[Comparison], start_ms: int, end_ms: int
) -> None:
    watch.joint_windows += 1
    watch.way = joint[0].way
    watch.control = tuple(sorted({n for c in joint for n in c.control}))
    for c in joint:
        watch.units_candidate += c.units_candidate
        watch.bad_candidate += c.bad_candidate
        watch.units_control += c.units_control
        watch.bad_control += c.bad_control
    watch.history.add(
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


def _note_error_rates(scope: Scope, window: OpenWindow) -> None:
    """Remember the share of error records that survives sampling, per release."""
    for release, stratum in sorted(window.cells):
        rate = kept_errors(window.cells[release, stratum])
        if rate is not None:
            scope.error_rates[release] = rate
    forget_unknown(scope.error_rates, scope.registry)
    for signature in scope.signatures.values():
        forget_unknown(signature.counts, scope.registry)


def forget_unknown(by_release: dict[int, float], registry: Registry) -> None:
    """Drop releases that made room for others, once they outnumber the known."""
    if len(by_release) > 2 * RELEASES_MAX:
        for number in by_release.keys() - registry.names_of.keys():
            del by_release[number]


def _open_series(
    scope: Scope,
    watch: Watch,
    inforce: InForce,
    rows: RateRatioRows,
    found: list[Comparison],
) -> None:
    """Enumerate the series at first sight; later strata may add late ones."""

    def allocate() -> int:
        persistence_ms = inforce.rule.persistence_ms
        return int(rows.allocate(1, persistence_ms=persistence_ms)[0])

    if not watch.series.series:
        segments = initial_segments(scope.strata)
        weights = initial_weights(segments)
        watch.series.series = [
            Series(segment, allocate(), weight)
            for segment, weight in zip(segments, weights, strict=True)
        ]
        watch.series.known_strata = scope.strata.next_number
    keys = scope.strata.key_of()
    tested = watch.series.segments()
    varied = scope.strata.varied()
    for comparison in found:
        stratum = comparison.stratum
        if stratum in watch.series.of_stratum:
            continue
        segments = segments_of(scope.strata.attrs, keys.get(stratum, ()))
        if stratum < watch.series.known_strata:
            segments = [s for s in segments if s in tested]
        else:
            segments = [s for s in segments if all(a in varied for a, _ in s)]
        watch.series.feed(stratum, segments, allocate)
