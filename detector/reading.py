"""What the evidence of a release says now: all that decisions and reports read."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import NamedTuple

import numpy as np

from detector.combine import release_log_e
from detector.evidence.rows import RateRatioRows
from detector.facts import Facts
from detector.scope import Scope, Track, Watch
from detector.series import SeriesSet
from detector.signals import errors, latency
from detector.signals.errors import UNIT_WORDS

CONFIDENCE_ALPHA = 0.05
RECOVERED_LOG_E = log(100.0)
PLAIN_RATIO = (0.0, 1.0, float("inf"))

SECOND_LOCK_Z = 3.0
"""Excess over an arm's own wander that slowness needs. Larger: surer and later."""


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


def behind_second_lock(
    scope: Scope, watch: Watch, facts: Facts, rows: RateRatioRows
) -> Facts:
    """The facts, where slowness persists only if it exceeds what arms wander.

    Durations come by the million: what one arm does on its own for an hour is
    certain to their test (statistics-controls, section 4).
    """
    if not facts.persistent or not facts.signal.startswith(latency.NAME):
        return facts
    lead = leading_series(watch, rows)
    if lead is None or lead.track.signal not in latency.TRACKS:
        return facts
    segment = lead.track.series.series[lead.place].segment
    release = scope.registry.releases[watch.release]
    lock = latency.second_lock(
        scope, release, lead.track.signal, segment, lead.track.margin
    )
    opened = lock.z >= SECOND_LOCK_Z and lock.present
    return facts if opened else facts._replace(persistent=False)


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


def facts_of(watch: Watch, rows: RateRatioRows, now_ms: int) -> Facts:
    """What a decision about this watch looks at, as of now."""
    return facts_of_all([watch], [now_ms], rows)[0]


def facts_of_all(
    watches: Sequence[Watch], now_ms: Sequence[int], rows: RateRatioRows
) -> list[Facts]:
    """The same for many watches at once, each as of its own moment.

    A watch's facts do not depend on the others: rows are read in one call only
    because a call costs as much as a hundred rows.
    """
    lines = [_lines(watch) for watch in watches]
    opened = [own for own in lines if own]
    readings = iter(_read(opened, rows) if opened else ())
    nothing = Reading(errors.NAME, 0.0, False, False, PLAIN_RATIO)
    return [
        _facts(watch, next(readings) if own else nothing, at_ms)
        for watch, own, at_ms in zip(watches, lines, now_ms, strict=True)
    ]


Line = tuple[Track, int, int, float]


def _lines(watch: Watch) -> list[Line]:
    """(signal, place, row, weight) of every series of a watch."""
    return [
        (track, index, one.row, track.share * one.weight)
        for track in watch.tracks.values()
        for index, one in enumerate(track.series.series)
        if track.share > 0
    ]


def _read(lines: list[list[Line]], rows: RateRatioRows) -> list[Reading]:
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
        bad_candidate=track.bad_candidate,
        bad_control=track.bad_control,
        past_ms=watch.past_ms,
        has_past=watch.has_past,
        unfixed=watch.unfixed,
        exonerated=watch.exonerated,
        slow=watch.slow,
        troubles=watch.troubles,
    )


def release_rows(watch: Watch, rows: RateRatioRows) -> None:
    """Give the rows of a watch back."""
    rows.free(watch.rows())
    for track in watch.tracks.values():
        track.series = SeriesSet()


def unit_word(track: Track) -> str:
    """What one counted unit is called: session, user or request."""
    return UNIT_WORDS[track.way]
