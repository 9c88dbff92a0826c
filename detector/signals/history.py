"""The candidate against the service's own past, where no concurrent control is left.

Failure rates per segment and the volume of the whole service, since the moment the
control was lost. A release that flipped quickly is judged from its deploy on: what
its rollout itself stirred up is not part of the past.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detector.evidence.blocks import Recent, cut
from detector.evidence.forecast import DAY_MS, HOUR_MS, RATES, VOLUME, Terms
from detector.evidence.past import Outcome, Past
from detector.evidence.types import BoolArray, FloatArray
from detector.findings import Finding
from detector.ledger import BAD, FINE_KEPT_MS, LINES, REQUESTS, UNITS, Table
from detector.series import Segment, segments_of
from detector.sight import Sight
from detector.signals.cohort import is_slow
from detector.signals.errors import UNIT_WORDS

NAME = "history"

SEGMENT_EXTRA = 0.75
"""How much further beyond the margin one of many segments must be."""

SERIES_MAX = 24
"""Segments judged, those with the most units in the past."""

PAST_MAX_MS = 15 * DAY_MS
FINE_PAST_MS = 6 * HOUR_MS
"""A shorter past is read in fine bins while these are kept."""

WINDOWS_MIN = 12
FLIP_WITHIN_MS = HOUR_MS
"""A release that took over within this time of its deploy flipped at the deploy."""

BLOCK_MS, BLOCK_WINDOWS = 300_000, 3
"""The shortest block: deploy blips of one to three minutes are over by then."""

LAST_MS = 90_000
WHOLE_SHARE = 0.5
"""Share of the usual usage lines below which the volume of a bin is not known."""

ERRORS_MIN = 10.0
ERRORS_KEEP = 0.8
"""Failures at this share of the expected ones beside less usage: lost telemetry."""


class Span(NamedTuple):
    """When the past begins and ends, the bins it is read in, and up to when."""

    start_ms: int
    flip_ms: int
    now_ms: int
    past_bin_ms: int


class View(NamedTuple):
    """Counts of a scope around the loss of control, and the questions' frame.

    ``coarse`` holds whole coarse bins since the flip, ``fine`` what came after the
    last of those that the fine bins do not reach.
    """

    sight: Sight
    span: Span
    past: Table
    coarse: Table
    fine: Table

    @property
    def shortest_ms(self) -> int:
        """Length of the shortest block that is judged, a multiple of fine bins."""
        least_ms = max(BLOCK_MS, BLOCK_WINDOWS * self.sight.scope.width_ms)
        return -(-least_ms // self.fine.bin_ms) * self.fine.bin_ms


def look(sight: Sight) -> list[Finding]:
    """What the past says about failures and volume after this window."""
    if not has_history(sight) or sight.release.flips:
        return []  # of a release that goes part by part the regions tell more
    view = view_of(sight)
    track = sight.watch.tracks.get("errors")
    rates = RATES
    if track is not None:
        rates = RATES._replace(margin=max(RATES.margin, track.margin))
    found = []
    late = is_slow(sight.scope, sight.rule, sight.release)
    for segment in segments(view) if not late else ():
        outcome = judge(view, segment, rates)
        if outcome is not None and (not segment or outcome.fires):
            found.append(_errors_finding(view, segment, outcome, rates))
    outcome = judge(view, (), VOLUME)
    if outcome is not None and not _telemetry_lost(view, outcome):
        found.append(_volume_finding(view, outcome))
    return found


def has_history(sight: Sight) -> bool:
    """Whether a release without control has a past long enough to compare with."""
    if sight.watch.control_lost_ms < 0 or sight.scope.ledger.coarse_ms == 0:
        return False
    span = span_of(sight)
    least_ms = max(HOUR_MS, WINDOWS_MIN * sight.scope.width_ms)
    return span.flip_ms - span.start_ms >= least_ms


def span_of(sight: Sight) -> Span:
    """The past and the present of a release whose control was lost."""
    ledger = sight.scope.ledger
    flip_ms = sight.watch.control_lost_ms
    started_ms = sight.release.started_ms
    if started_ms >= 0 and 0 <= flip_ms - started_ms <= FLIP_WITHIN_MS:
        flip_ms = started_ms
    start_ms = max(ledger.oldest_ms(), flip_ms - PAST_MAX_MS)
    short = flip_ms - start_ms < FINE_PAST_MS
    fine = short and start_ms > sight.now_ms - FINE_KEPT_MS
    bin_ms = ledger.fine_ms if fine else ledger.coarse_ms
    now_ms = sight.now_ms // ledger.fine_ms * ledger.fine_ms
    return Span(start_ms, flip_ms, now_ms, bin_ms)


def view_of(sight: Sight) -> View:
    """The counts that the questions about one window need, read once."""
    span, ledger = span_of(sight), sight.scope.ledger
    key = ("history past", span.start_ms, span.flip_ms, span.past_bin_ms)
    if key not in sight.cache:
        for old in [k for k in sight.cache if str(k[0]).startswith("history")]:
            del sight.cache[old]
        coarse = span.past_bin_ms == ledger.coarse_ms
        sight.cache[key] = ledger.table(span.start_ms, span.flip_ms, coarse=coarse)
    kept_ms = max(span.flip_ms, span.now_ms - FINE_KEPT_MS + ledger.coarse_ms)
    split_ms = -(-kept_ms // ledger.coarse_ms) * ledger.coarse_ms
    if kept_ms == span.flip_ms:
        split_ms = span.flip_ms
    return View(
        sight,
        span,
        sight.cache[key],
        ledger.table(span.flip_ms, span.now_ms),
        ledger.table(min(split_ms, span.now_ms), span.now_ms, coarse=False),
    )


def segments(view: View) -> list[Segment]:
    """All, each value and each pair, the ones with the most units in the past."""
    strata, number = view.sight.scope.strata, view.sight.release.number
    varied, key_of = strata.varied(), strata.key_of()
    units: dict[Segment, float] = {(): 0.0}
    for (release, stratum), values in zip(
        view.past.keys, view.past.values, strict=True
    ):
        if release == number:
            continue
        for segment in segments_of(strata.attrs, key_of.get(stratum, ())):
            if all(name in varied for name, _ in segment):
                units[segment] = units.get(segment, 0.0) + float(values[:, UNITS].sum())
    order = sorted(units, key=lambda s: (len(s) > 0, -units[s], s))
    return order[:SERIES_MAX]


def judge(view: View, segment: Segment, terms: Terms) -> Outcome | None:
    """The newest blocks of one series against its past."""
    past = _past(view, segment, terms)
    over_ms = _over_after_ms(view, segment, terms, past)
    recent = _recent(view, segment, terms)
    if len(recent.bad) == 0:
        return None
    hour_ms = max(HOUR_MS, BLOCK_WINDOWS * view.sight.scope.width_ms)
    last_ms = max(1, LAST_MS // view.fine.bin_ms) * view.fine.bin_ms
    since_ms = max(view.span.flip_ms + max(0, over_ms), int(recent.edges_ms[0]))
    blocks = cut(recent, since_ms, view.shortest_ms, hour_ms, last_ms)
    return past.look(view.span.now_ms - view.span.flip_ms, blocks, over_ms >= 0)


def _past(view: View, segment: Segment, terms: Terms) -> Past:
    """The past of one series, learnt from once."""
    cache = view.sight.cache
    key = ("history", segment, terms)
    if key not in cache:
        bad, units = _measures(view, view.past, segment, terms, own=False)
        there = units > 0
        extra = SEGMENT_EXTRA if segment else 0.0
        cache[key] = Past(
            np.where(there, bad, np.nan),
            np.where(there, units, np.nan),
            view.past.bin_ms,
            terms,
            extra,
        )
    found: Past = cache[key]
    return found


def _over_after_ms(view: View, segment: Segment, terms: Terms, past: Past) -> int:
    bad, units = _measures(view, view.coarse, segment, terms, own=True)
    age_ms = past.over_after_ms(bad, units, view.coarse.bin_ms)
    if age_ms <= 0:
        return age_ms
    first_ms = int(view.coarse.ends_ms[0]) - view.coarse.bin_ms
    return first_ms - view.span.flip_ms + age_ms


def _recent(view: View, segment: Segment, terms: Terms) -> Recent:
    """The series since the flip: coarse bins, then the fine ones that are kept."""
    fine = _measures(view, view.fine, segment, terms, own=True)
    split_ms = int(view.fine.ends_ms[0]) - view.fine.bin_ms if len(fine[0]) else 0
    old = view.coarse.ends_ms <= split_ms
    coarse = _measures(view, view.coarse, segment, terms, own=True)
    ends = np.concatenate([view.coarse.ends_ms[old], view.fine.ends_ms])
    if len(ends) == 0:
        return Recent(ends, *fine)
    first_ms = ends[0] - (view.coarse.bin_ms if old.any() else view.fine.bin_ms)
    bad, units = (
        np.concatenate([a[old], b]) for a, b in zip(coarse, fine, strict=True)
    )
    return Recent(np.concatenate([[first_ms], ends]), bad, units)


def _measures(
    view: View, table: Table, segment: Segment, terms: Terms, *, own: bool
) -> tuple[FloatArray, FloatArray]:
    """Bad and units per bin: of the release or of all others; volume of everybody."""
    values = _sum(view, table, segment, None if terms.volume else own)
    if not terms.volume:
        there = values[:, UNITS] > 0
        return np.where(there, values[:, BAD], 0.0), values[:, UNITS]
    whole = _whole(view, table, values[:, LINES])
    share = table.bin_ms / view.past.bin_ms
    return np.where(whole, values[:, REQUESTS], 0.0), np.where(whole, share, 0.0)


def _whole(view: View, table: Table, lines: FloatArray) -> BoolArray:
    """Bins in which at least half of the usual usage lines arrived."""
    usual = _sum(view, view.past, (), None)[:, LINES]
    usual = usual[usual > 0]
    if len(usual) == 0:
        return lines > 0
    share = table.bin_ms / view.past.bin_ms
    least = WHOLE_SHARE * float(np.median(usual)) * share
    enough: BoolArray = (lines > 0) & (lines >= least)
    return enough


def _sum(view: View, table: Table, segment: Segment, own: bool | None) -> FloatArray:
    """Sum of a table over a segment: the release, the others, or (None) everybody."""
    strata, number = view.sight.scope.strata, view.sight.release.number
    key_of = strata.key_of()
    inside = {
        stratum
        for _, stratum in table.keys
        if not segment or segment in segments_of(strata.attrs, key_of.get(stratum, ()))
    }
    return table.sum_of(
        lambda key: key[1] in inside and (own is None or own == (key[0] == number))
    )


def _telemetry_lost(view: View, outcome: Outcome) -> bool:
    """Whether failures kept coming while usage did not: lines were lost, not users."""
    before = view.past.ends_ms > view.span.flip_ms - DAY_MS
    old = _sum(view, view.past, (), None)[before]
    requests, bad = float(old[:, REQUESTS].sum()), float(old[:, BAD].sum())
    if requests <= 0:
        return False
    expected = outcome.expected * bad / requests
    seen = _recent_bad(view, view.span.now_ms - outcome.length_ms)
    return expected >= ERRORS_MIN and seen >= ERRORS_KEEP * expected


def _recent_bad(view: View, since_ms: int) -> float:
    """Failures of everybody since a moment after the flip."""
    fine = view.fine.ends_ms - view.fine.bin_ms >= since_ms
    coarse = view.coarse.ends_ms - view.coarse.bin_ms >= since_ms
    if len(view.fine.ends_ms):
        first_ms = int(view.fine.ends_ms[0]) - view.fine.bin_ms
        coarse &= view.coarse.ends_ms <= first_ms
    return float(
        _sum(view, view.fine, (), None)[fine, BAD].sum()
        + _sum(view, view.coarse, (), None)[coarse, BAD].sum()
    )


def _errors_finding(
    view: View, segment: Segment, outcome: Outcome, terms: Terms
) -> Finding:
    track = view.sight.watch.tracks.get("errors")
    unit = UNIT_WORDS.get(track.way, "request") if track else "request"
    # The control's units are what the prediction rests its rate on: as many.
    counts = outcome.units, outcome.bad, outcome.units, outcome.expected
    return _finding(
        view, "errors", "error_rate_up", segment, outcome, terms, counts, unit
    )


def _volume_finding(view: View, outcome: Outcome) -> Finding:
    """A drop: the volume stands as units, nothing of it is bad."""
    counts = outcome.bad, 0.0, outcome.expected, 0.0
    return _finding(view, "usage", "usage_down", (), outcome, VOLUME, counts, "request")


def _finding(
    view: View,
    signal: str,
    reason: str,
    segment: Segment,
    outcome: Outcome,
    terms: Terms,
    counts: tuple[float, float, float, float],
    unit: str,
) -> Finding:
    return Finding(
        signal=signal,
        control="history",
        guarantee="empirical",
        reason=reason,
        z=outcome.z,
        threshold=outcome.threshold,
        fires=outcome.fires,
        segment=segment,
        ratio=outcome.ratio,
        counts=counts,
        onset_ms=view.span.now_ms - outcome.length_ms,
        unit=unit,
        margin=terms.margin**terms.direction,
        detail=outcome.predictor,
    )
