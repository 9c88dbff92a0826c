"""Are requests slower than the control's? Records above the control's own quantiles.

One track for each quantile: body and tail are judged alike, no shape is assumed, and
load swings cancel because thresholds move with the control. A threshold is a bucket
edge that the control's earlier windows chose and that both arms know.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detector.durations import Durations, together
from detector.evidence.exceedance import (
    QUANTILES,
    effective_cells,
    log_odds_ratio,
    nearest_edges,
)
from detector.evidence.saturating import (
    NOTHING,
    Saturating,
    Trail,
    odds_sums,
    saturating_z,
)
from detector.evidence.types import FloatArray
from detector.latencystate import SEGMENTS_MAX, Beside, Open
from detector.releases import Release
from detector.scope import Scope
from detector.series import WHOLE, Segment
from detector.signals.errors import Comparison
from detector.windows import OpenWindow

NAME = "latency"
GUARANTEE = "proven"
REASON = "latency_up"
WAY = "exceedance"
UNIT = "request"

REFERENCE_MIN = 50.0
"""Records of the control that must be there before they choose thresholds."""

LEARNS_FROM = 1
"""Place of the quantile whose windows teach the spread: .75 has counts on any day."""


def track_name(quantile: float) -> str:
    """Name of the track of one quantile.

    Examples
    --------
    >>> track_name(0.99)
    'latency:p99'
    """
    return f"{NAME}:p{quantile * 100:g}"


TRACKS = tuple(track_name(quantile) for quantile in QUANTILES)


class Crossing(NamedTuple):
    """One threshold in one stratum of one window: records above it, and all."""

    stratum: int
    edge_ms: float
    above_candidate: float
    above_control: float
    units_candidate: float
    units_control: float
    control: tuple[int, ...]

    @property
    def counts(self) -> FloatArray:
        """The four counts as arrays of one cell, in the order of the kernels."""
        return np.array(self[2:6], dtype=np.float64)[:, None]


def tracks(scope: Scope) -> list[str]:
    """Tracks that a release of this service has: none if it never sent durations."""
    return list(TRACKS) if scope.latency.recent else []


def compare(
    scope: Scope, window: OpenWindow, release: Release, groups: list[list[int]]
) -> list[tuple[str, list[Comparison]]]:
    """Line up a release's durations with its control's, for every quantile.

    The counts of the comparisons are effective ones (``effective_cells``): what the
    rate-ratio test makes of them is the exact test of the odds, tempered by what
    windows of these arms do on their own. Call before ``LatencyState.close``.
    """
    watch = scope.watches[release.name]
    crossings = cross(scope.latency.recent, window.durations, release.number, groups)
    if not crossings:
        return []
    beside = scope.latency.beside.setdefault(release.number, Beside())
    spread, belongs = beside.spread, scope.strata.segments()
    found = []
    for place, name in enumerate(TRACKS):
        track = watch.tracks.get(name)
        if track is None:
            continue
        each = [stratum[place] for stratum in crossings]
        found.append((name, [_comparison(c, track.margin, spread) for c in each]))
        _note_blocks(beside, name, belongs, each)
    for stratum in crossings:
        _note_spread(beside, stratum[LEARNS_FROM])
    return found


def second_lock(
    scope: Scope, release: Release, name: str, segment: Segment, margin: float
) -> Saturating:
    """Does the harm exceed what arms wander on their own? See ``saturating_z``.

    Of a segment that is not kept by itself the whole is looked at.
    """
    beside = scope.latency.beside.get(release.number)
    kept = beside.trails.get(name, {}) if beside else {}
    blocks = kept.get(segment) or kept.get(())
    if blocks is None:
        return NOTHING
    return saturating_z(*blocks.rows(), log_margin=float(np.log(margin)))


def cross(
    recent: Open, window: Open, release: int, groups: list[list[int]]
) -> list[list[Crossing]]:
    """Counts at every quantile's threshold, for each stratum with both arms.

    ``recent`` holds earlier windows only; the release's own there are not used.
    """
    found = []
    for stratum in sorted(s for r, s in window if r == release):
        control = _control(window, stratum, groups)
        if control:
            found.append(_cross_stratum(recent, window, release, stratum, control))
    return [crossings for crossings in found if crossings]


def _control(window: Open, stratum: int, groups: list[list[int]]) -> tuple[int, ...]:
    for group in groups:
        numbers = tuple(n for n in group if (n, stratum) in window)
        if numbers:
            return numbers
    return ()


def _cross_stratum(
    recent: Open,
    window: Open,
    release: int,
    stratum: int,
    control: tuple[int, ...],
) -> list[Crossing]:
    earlier = together(recent.get((number, stratum), Durations()) for number in control)
    if earlier.total < REFERENCE_MIN:
        return []
    own = window[release, stratum]
    other = together(window[number, stratum] for number in control)
    edges = earlier.edges_ms()
    above, known = earlier.above(edges)
    kt, nt = own.above(edges)
    kc, nc = other.above(edges)
    shared = np.flatnonzero(
        earlier.well_known(known) & own.well_known(nt) & other.well_known(nc)
    )
    chosen = shared[nearest_edges(above[shared], known[shared])]
    return [
        Crossing(stratum, edges[i], kt[i], kc[i], nt[i], nc[i], control) for i in chosen
    ]


def _comparison(crossing: Crossing, margin: float, spread: float) -> Comparison:
    cells = effective_cells(*crossing.counts, margin=margin, spread=spread)
    bad_candidate, bad_control, units_candidate, units_control = (
        float(values[0]) for values in cells
    )
    return Comparison(
        stratum=crossing.stratum,
        way=WAY,
        units_candidate=units_candidate,
        bad_candidate=bad_candidate,
        units_control=units_control,
        bad_control=bad_control,
        control=crossing.control,
    )


def _note_blocks(
    beside: Beside,
    name: str,
    belongs: dict[int, list[Segment]],
    crossings: list[Crossing],
) -> None:
    totals: dict[Segment, FloatArray] = {}
    for crossing in crossings:
        sums = odds_sums(*crossing.counts)[0]
        for segment in belongs.get(crossing.stratum, [WHOLE]):
            totals[segment] = totals.get(segment, 0.0) + sums
    kept = beside.trails.setdefault(name, {})
    for segment, sums in totals.items():
        if segment in kept or len(kept) < SEGMENTS_MAX:
            kept.setdefault(segment, Trail()).add(sums)


def _note_spread(beside: Beside, crossing: Crossing) -> None:
    ratio, sampling = log_odds_ratio(*crossing.counts)
    point = (crossing.edge_ms, float(ratio[0]), float(sampling[0]))
    beside.note(crossing.stratum, point)
