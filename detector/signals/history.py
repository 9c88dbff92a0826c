"""The candidate against the service's own past, where no concurrent control is left.

Failure rates per segment and the volume of the whole service, since the moment the
control was lost. A release that flipped quickly is judged from its deploy on: what
its rollout itself stirred up is not part of the past.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from detector.evidence.blocks import Recent, cut
from detector.evidence.forecast import DAY_MS, HOUR_MS, RATES, VOLUME, Terms
from detector.evidence.past import Outcome, Past
from detector.findings import Finding
from detector.history import Counts
from detector.ledger import BAD, REQUESTS, UNITS, Key
from detector.localise import smallest_cut
from detector.series import Segment
from detector.sight import Sight
from detector.signals.cohort import is_slow
from detector.signals.errors import UNIT_WORDS
from detector.signals.pastview import (
    BLOCK_WINDOWS,
    View,
    has_history,
    measures,
    segments,
    total_of,
    view_of,
)

NAME = "history"

SEGMENT_EXTRA = 0.75
"""How much further beyond the margin one of many segments must be."""

LAST_MS = 90_000
ERRORS_MIN = 10.0
ERRORS_KEEP = 0.8
"""Failures at this share of the expected ones beside less usage: lost telemetry."""


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
            place = segment
            if not segment and outcome.fires:
                place = _smallest_cut(view, outcome)
            found.append(_errors_finding(view, place, outcome, rates))
    outcome = judge(view, (), VOLUME)
    if outcome is not None and not _telemetry_lost(view, outcome):
        found.append(_volume_finding(view, outcome))
    return found


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
    age_ms = view.span.now_ms - view.span.flip_ms
    return past.look(age_ms, blocks, over_ms >= 0, only_firing=bool(segment))


def _past(view: View, segment: Segment, terms: Terms) -> Past:
    """The past of one series, learnt from once."""
    cache = view.sight.cache
    key = ("history", segment, terms)
    if key not in cache:
        bad, units = measures(view, view.past, segment, terms, own=False)
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
    if past.running_rate is None:
        return 0
    bad, units = measures(view, view.coarse, segment, terms, own=True)
    age_ms = past.over_after_ms(bad, units, view.coarse.bin_ms)
    if age_ms <= 0:
        return age_ms
    first_ms = int(view.coarse.ends_ms[0]) - view.coarse.bin_ms
    return first_ms - view.span.flip_ms + age_ms


def _recent(view: View, segment: Segment, terms: Terms) -> Recent:
    """The series since the flip: coarse bins, then the fine ones that are kept."""
    fine = measures(view, view.fine, segment, terms, own=True)
    split_ms = int(view.fine.ends_ms[0]) - view.fine.bin_ms if len(fine[0]) else 0
    old = view.coarse.ends_ms <= split_ms
    coarse = measures(view, view.coarse, segment, terms, own=True)
    ends = np.concatenate([view.coarse.ends_ms[old], view.fine.ends_ms])
    if len(ends) == 0:
        return Recent(ends, *fine)
    first_ms = ends[0] - (view.coarse.bin_ms if old.any() else view.fine.bin_ms)
    bad, units = (
        np.concatenate([a[old], b]) for a, b in zip(coarse, fine, strict=True)
    )
    return Recent(np.concatenate([[first_ms], ends]), bad, units)


def _telemetry_lost(view: View, outcome: Outcome) -> bool:
    """Whether failures kept coming while usage did not: lines were lost, not users."""
    before = view.past.ends_ms > view.span.flip_ms - DAY_MS
    old = total_of(view, view.past, (), None)[before]
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
        total_of(view, view.fine, (), None)[fine, BAD].sum()
        + total_of(view, view.coarse, (), None)[coarse, BAD].sum()
    )


def _smallest_cut(view: View, outcome: Outcome) -> Segment:
    """Where a harm of the whole sits: the past stands in for the control's counts."""
    strata, number = view.sight.scope.strata, view.sight.release.number
    since_ms = view.span.now_ms - outcome.length_ms
    table = view.fine
    if len(table.ends_ms) == 0 or table.ends_ms[0] - table.bin_ms > since_ms:
        table = view.coarse
    new = table.ends_ms - table.bin_ms >= since_ms
    # The past's level moves with the prediction: what counts is where it is exceeded.
    past_bad = float(sum(v[:, BAD].sum() for v in view.past.values))
    past_units = float(sum(v[:, UNITS].sum() for v in view.past.values))
    if past_bad <= 0 or outcome.units <= 0:
        return ()
    level = outcome.expected / outcome.units / (past_bad / past_units)
    counts: dict[int, Counts] = {}
    for (release, stratum), values in zip(table.keys, table.values, strict=True):
        if release == number:
            now = values[new].sum(axis=0)
            alike = partial(_is_in, stratum)
            before = view.past.sum_of(alike).sum(axis=0)
            counts[stratum] = (
                float(now[UNITS]),
                float(now[BAD]),
                float(before[UNITS]),
                float(before[BAD]) * level,
            )
    return smallest_cut(strata.attrs, strata.key_of(), counts)


def _is_in(stratum: int, key: Key) -> bool:
    return key[1] == stratum


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
    """A drop: what was expected stands as units, what is missing as bad ones."""
    missing = max(0.0, outcome.expected - outcome.bad)
    counts = outcome.expected, missing, 0.0, 0.0
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
