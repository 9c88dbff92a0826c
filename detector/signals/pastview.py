"""Counts of a scope before and since the loss of control, by segment.

What the comparison of a release with the past reads, once a window and no more
often than it changes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detector.evidence.forecast import DAY_MS, HOUR_MS, Terms
from detector.evidence.types import BoolArray, FloatArray
from detector.ledger import BAD, FINE_KEPT_MS, LINES, REQUESTS, UNITS, Key, Table
from detector.series import Segment
from detector.sight import Sight

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

WHOLE_SHARE = 0.5
"""Share of the usual usage lines below which the volume of a bin is not known."""

STRATUM_CACHES = frozenset({"history segments", "history rows", "history list"})
"""Derived values that another enumeration of strata makes void."""


class Span(NamedTuple):
    """When the past begins and ends, the bins it is read in, and up to when."""

    start_ms: int
    flip_ms: int
    now_ms: int
    past_bin_ms: int


class View(NamedTuple):
    """Counts of a scope around the loss of control, and the questions' frame.

    ``coarse`` holds whole coarse bins since the flip, ``fine`` what came after the
    last of those that the fine bins do not reach; ``sums`` are those asked for so far.
    """

    sight: Sight
    span: Span
    past: Table
    coarse: Table
    fine: Table
    sums: dict[tuple[int, Segment, bool | None], FloatArray]

    @property
    def shortest_ms(self) -> int:
        """Length of the shortest block that is judged, a multiple of fine bins."""
        least_ms = max(BLOCK_MS, BLOCK_WINDOWS * self.sight.scope.width_ms)
        return -(-least_ms // self.fine.bin_ms) * self.fine.bin_ms


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
    strata = sight.scope.strata.attrs, sight.scope.sampled
    key = ("history past", span.start_ms, span.flip_ms, span.past_bin_ms, strata)
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
        {},
    )


def segments(view: View) -> list[Segment]:
    """All, each value and each pair, the ones with the most units in the past."""
    sight = view.sight
    varied, belongs = sight.scope.strata.varied(), _belongs(sight)
    place = "history list", frozenset(varied)
    if place not in sight.cache:
        units: dict[Segment, float] = {(): 0.0}
        for (release, stratum), values in zip(
            view.past.keys, view.past.values, strict=True
        ):
            if release == sight.release.number:
                continue
            for segment in sorted(belongs.get(stratum, ((),))):
                if all(name in varied for name, _ in segment):
                    total = float(values[:, UNITS].sum())
                    units[segment] = units.get(segment, 0.0) + total
        order = sorted(units, key=lambda s: (len(s) > 0, -units[s], s))
        sight.cache[place] = order[:SERIES_MAX]
    found: list[Segment] = sight.cache[place]
    return found


def measures(
    view: View, table: Table, segment: Segment, terms: Terms, *, own: bool
) -> tuple[FloatArray, FloatArray]:
    """Bad and units per bin: of the release or of all others; volume of everybody."""
    values = total_of(view, table, segment, None if terms.volume else own)
    if not terms.volume:
        # Distinct units are no measure of arms that were sampled differently.
        units = values[:, REQUESTS if view.sight.scope.sampled else UNITS]
        return np.where(units > 0, values[:, BAD], 0.0), units
    whole = _whole(view, table, values[:, LINES])
    share = table.bin_ms / view.past.bin_ms
    return np.where(whole, values[:, REQUESTS], 0.0), np.where(whole, share, 0.0)


def _whole(view: View, table: Table, lines: FloatArray) -> BoolArray:
    """Bins in which at least half of the usual usage lines arrived."""
    usual = total_of(view, view.past, (), None)[:, LINES]
    usual = usual[usual > 0]
    if len(usual) == 0:
        return lines > 0
    share = table.bin_ms / view.past.bin_ms
    least = WHOLE_SHARE * float(np.median(usual)) * share
    enough: BoolArray = (lines > 0) & (lines >= least)
    return enough


def total_of(
    view: View, table: Table, segment: Segment, own: bool | None
) -> FloatArray:
    """Sum of a table over a segment: the release, the others, or (None) everybody."""
    place = id(table), segment, own
    if place not in view.sums:
        chosen = _rows(view.sight, tuple(table.keys), segment, own)
        view.sums[place] = table.values[chosen].sum(axis=0)
    return view.sums[place]


def _rows(
    sight: Sight, keys: tuple[Key, ...], segment: Segment, own: bool | None
) -> list[int]:
    """Which keys of a table a sum is over."""
    belongs, number = _belongs(sight), sight.release.number
    place = "history rows", keys, segment, own
    if place not in sight.cache:
        sight.cache[place] = [
            row
            for row, (release, stratum) in enumerate(keys)
            if (own is None or own == (release == number))
            and (not segment or segment in belongs.get(stratum, ()))
        ]
    found: list[int] = sight.cache[place]
    return found


def _belongs(sight: Sight) -> dict[int, list[Segment]]:
    """The segments of each stratum that is in use."""
    strata = sight.scope.strata
    key = ("history segments", strata.attrs, strata.next_number)
    if key not in sight.cache:
        for old in [k for k in sight.cache if k[0] in STRATUM_CACHES]:
            del sight.cache[old]
        sight.cache[key] = strata.segments()
    found: dict[int, list[Segment]] = sight.cache[key]
    return found
