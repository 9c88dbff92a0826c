"""Are requests slower than the past leads to expect, where no control is left?

The thresholds are edges nearest to quantiles of the past, chosen when the control was
lost; records above them are compared with the past like failed units are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detector.durationledger import DurationLedger, exceedances_in
from detector.evidence.blocks import Recent, cut
from detector.evidence.forecast import Terms
from detector.evidence.past import Outcome, Past
from detector.evidence.types import FloatArray, IntArray
from detector.findings import Finding
from detector.latencystate import LatencyState
from detector.ledger import COARSE_KEPT_MS, FINE_KEPT_MS, Key, Wanted
from detector.series import Segment, initial_segments
from detector.sight import Sight

NAME = "latency"
REASON = "latency_up"
UNIT = "request"
QUANTILES = (0.5, 0.9, 0.99)

SEGMENT_EXTRA = 0.75
"""How much further beyond the margin one of many segments must be."""

SEGMENTS_MAX = 8
SHORT_MS = 6 * 3_600_000
"""A shorter past is read in fine bins."""

PAST_BINS_MIN = 12
"""Bins that the past must hold to predict anything."""

BLOCK_MIN_MS = 300_000
BLOCK_MIN_WINDOWS = 3
HOUR_MS = 3_600_000
NEWEST_MS = 90_000


class Series(NamedTuple):
    """Counts in bins of one width, oldest first; NaN where nothing arrived."""

    bin_ms: int
    above: FloatArray
    records: FloatArray


def look(sight: Sight) -> list[Finding]:
    """One finding for each segment whose durations the past can judge."""
    state = sight.scope.latency
    lost_ms = lost_since_ms(sight)
    if lost_ms < 0 or state.fine.bin_ms <= 0 or not state.coarse.edges_ms:
        return []
    # Nothing changes before the next bin is full.
    bin_ms, strata = state.fine.bin_ms, sight.scope.strata
    full = sight._replace(now_ms=sight.now_ms // bin_ms * bin_ms)
    past = lost_ms, _oldest_days(state), strata.attrs
    at = full.now_ms, past, strata.next_number
    kept = sight.cache.get((NAME, "findings"))
    if kept is None or kept[0] != at:
        if kept is None or kept[0][1] != past:
            _forget(sight)
        found = [_judge(full, lost_ms, segment) for segment in _segments(sight)]
        kept = at, [f for f in found if f is not None]
        sight.cache[NAME, "findings"] = kept
    findings: list[Finding] = kept[1]
    return findings


def _oldest_days(state: LatencyState) -> tuple[int, int]:
    """Where both ledgers begin: what was learnt from a past holds while it is kept."""
    return min(state.coarse.pages, default=-1), min(state.fine.pages, default=-1)


def _forget(sight: Sight) -> None:
    for old in [key for key in sight.cache if key[0] == NAME]:
        del sight.cache[old]


def lost_since_ms(sight: Sight) -> int:
    """Since when there is no control: by usage, else by durations; -1 if there is."""
    if "usage" in sight.scope.last_event_ms:
        return sight.watch.control_lost_ms
    beside = sight.scope.latency.beside.get(sight.release.number)
    return beside.lost_ms if beside else -1


def _segments(sight: Sight) -> list[Segment]:
    found = [s for s in initial_segments(sight.scope.strata) if len(s) <= 1]
    return found[: 1 + SEGMENTS_MAX]


def _judge(sight: Sight, lost_ms: int, segment: Segment) -> Finding | None:
    ours, before = _selections(sight, segment)
    since = since_of(sight.scope.latency, lost_ms, sight.now_ms, ours)
    best: tuple[Outcome, int] | None = None
    for edge in _edges(sight, lost_ms, segment, before):
        past = _past(sight, lost_ms, segment, edge, before)
        if past is None:
            continue
        outcome = _outcome(past, sight, edge, lost_ms, since)
        if outcome is not None and (best is None or outcome.z > best[0].z):
            best = outcome, edge
    return None if best is None else _finding(sight, segment, *best)


def _selections(sight: Sight, segment: Segment) -> tuple[Wanted, Wanted]:
    """Which counts are the candidate's since, and which the past's."""
    number = sight.release.number
    inside = sight.scope.strata.within(segment)

    def ours(key: Key) -> bool:
        return key[0] == number and inside(key[1])

    def before(key: Key) -> bool:
        return key[0] != number and inside(key[1])

    return ours, before


def _edges(sight: Sight, lost_ms: int, segment: Segment, before: Wanted) -> list[int]:
    place = (NAME, "edges", lost_ms, segment)
    if place not in sight.cache:
        sight.cache[place] = sight.scope.latency.coarse.edges_for(
            lost_ms - COARSE_KEPT_MS, lost_ms, before, QUANTILES
        )
    edges: list[int] = sight.cache[place]
    return edges


def _past(
    sight: Sight, lost_ms: int, segment: Segment, edge: int, before: Wanted
) -> Past | None:
    place = (NAME, "past", lost_ms, segment, edge)
    if place not in sight.cache:
        margin = sight.rule.signals[NAME].margin
        sight.cache[place] = past_of(sight.scope.latency, edge, lost_ms, before, margin)
    past: Past | None = sight.cache[place]
    return past


def past_of(
    state: LatencyState, edge: int, lost_ms: int, before: Wanted, margin: float
) -> Past | None:
    """What came before the loss of control; None if it is too short to predict.

    A short past is read in fine bins as long as all of them are kept.
    """
    found = series(state.coarse, edge, lost_ms - COARSE_KEPT_MS, lost_ms, before)
    length_ms = len(found.above) * found.bin_ms
    if length_ms < SHORT_MS:
        fine = series(state.fine, edge, lost_ms - SHORT_MS, lost_ms, before)
        if len(fine.above) * fine.bin_ms > length_ms - found.bin_ms:
            found = fine
    if np.isfinite(found.above).sum() < PAST_BINS_MIN:
        return None
    return Past(found.above, found.records, found.bin_ms, Terms(margin=margin))


def series(
    ledger: DurationLedger, edge: int, start_ms: int, end_ms: int, wanted: Wanted
) -> Series:
    """Records above an edge and all records, from the first bin that holds any."""
    above, records = ledger.exceedances(edge, max(0, start_ms), end_ms, wanted)
    there = np.flatnonzero(np.isfinite(records))
    first = int(there[0]) if there.size else len(above)
    return Series(ledger.bin_ms, above[first:], records[first:])


class Since(NamedTuple):
    """Records of a selection since the loss of control, above each of the edges.

    ``coarse`` from then on, ``old`` and ``new`` the same without overlap in bins of
    the widths that ``edges_ms`` has.
    """

    coarse: FloatArray
    edges_ms: IntArray
    old: FloatArray
    new: FloatArray


def _outcome(
    past: Past, sight: Sight, edge: int, lost_ms: int, since: Since
) -> Outcome | None:
    state, now_ms = sight.scope.latency, sight.now_ms
    above, records = exceedances_in(since.coarse, edge)
    over_ms = past.over_after_ms(above, records, state.coarse.bin_ms)
    recent = _recent(since, edge)
    if len(recent.bad) < 1:
        return None
    shortest_ms = max(BLOCK_MIN_MS, BLOCK_MIN_WINDOWS * sight.scope.width_ms)
    bin_ms = state.fine.bin_ms
    last_ms = bin_ms * -(-NEWEST_MS // bin_ms)
    blocks = cut(recent, lost_ms + max(0, over_ms), shortest_ms, HOUR_MS, last_ms)
    if not len(blocks.lengths_ms):
        return None
    return past.look(now_ms - lost_ms, blocks, over=over_ms >= 0)


def recent_of(
    state: LatencyState, edge: int, lost_ms: int, now_ms: int, wanted: Wanted
) -> Recent:
    """Counts since the loss of control: in coarse bins, the newest hours in fine ones.

    Bins that are only partly after the loss are left out.
    """
    return _recent(since_of(state, lost_ms, now_ms, wanted), edge)


def since_of(state: LatencyState, lost_ms: int, now_ms: int, wanted: Wanted) -> Since:
    """The same for every edge, read once."""
    coarse_ms, fine_ms = state.coarse.bin_ms, state.fine.bin_ms
    kept_ms = max(lost_ms, now_ms - FINE_KEPT_MS)
    middle_ms = coarse_ms * -(-kept_ms // coarse_ms)
    first_ms = coarse_ms * -(-lost_ms // coarse_ms)
    if middle_ms <= first_ms or middle_ms > now_ms:
        middle_ms = first_ms = fine_ms * -(-lost_ms // fine_ms)
    coarse = state.coarse.sums(lost_ms, now_ms, wanted)
    old = state.coarse.sums(first_ms, middle_ms, wanted)
    new = state.fine.sums(middle_ms, now_ms, wanted)
    edges = [
        first_ms + coarse_ms * np.arange(len(old)),
        middle_ms + fine_ms * np.arange(len(new) + 1),
    ]
    return Since(coarse, np.concatenate(edges).astype(np.int64), old, new)


def _recent(since: Since, edge: int) -> Recent:
    old, new = exceedances_in(since.old, edge), exceedances_in(since.new, edge)
    above, records = (
        np.nan_to_num(np.concatenate(p)) for p in zip(old, new, strict=True)
    )
    return Recent(since.edges_ms, above, records)


def _finding(sight: Sight, segment: Segment, outcome: Outcome, edge: int) -> Finding:
    threshold = outcome.threshold + (SEGMENT_EXTRA if segment else 0.0)
    edge_ms = sight.scope.latency.coarse.edges_ms[edge]
    return Finding(
        signal=NAME,
        control="history",
        guarantee="empirical",
        reason=REASON,
        z=outcome.z,
        threshold=threshold,
        fires=outcome.present and outcome.z >= threshold,
        segment=segment,
        ratio=outcome.ratio,
        counts=(outcome.units, outcome.bad, outcome.units, outcome.expected),
        onset_ms=sight.now_ms - outcome.length_ms,
        unit=UNIT,
        detail=f"above {edge_ms:g} ms",
    )
