"""Counts of a release and of the others over time, laid beside each other.

What a plan says of a release, and what its users get done, is asked of the same
counts: per stratum and bin, only where all lines of the release and some of the
others arrived. A line that is missing is missing, it is not zero.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

import numpy as np

from detector.evidence.order import quantile
from detector.evidence.types import BoolArray, FloatArray, IntArray
from detector.ledger import FINE_KEPT_MS, FOLDED, LINES, MEASURES, SESSIONS, Table
from detector.series import Segment, Strata, initial_segments, segments_of
from detector.sight import Sight
from detector.windows import OpenWindow

FULL_SHARE = 0.9
"""Share of its usual lines that the candidate's bin must have to be whole."""

USUAL_QUANTILE = 0.8

Numbers = frozenset[int]


class Split(NamedTuple):
    """Counts of both arms since a moment, by stratum and bin.

    ``own`` and ``others`` have shape (strata, bins, measures) and are 0 where a
    stratum lacks whole usage of either arm in a bin. ``told`` is where, besides, both
    arms know how many sessions began.
    """

    strata: list[int]
    ends_ms: IntArray
    bin_ms: int
    own: FloatArray
    others: FloatArray
    told: BoolArray

    def counts(self) -> tuple[FloatArray, FloatArray]:
        """Both arms where sessions are told, 0 elsewhere."""
        if np.count_nonzero(self.told) == np.count_nonzero(self.own[:, :, LINES]):
            return self.own, self.others
        told = self.told[:, :, None]
        return np.where(told, self.own, 0.0), np.where(told, self.others, 0.0)


def split_since(sight: Sight, since_ms: int, beside: Numbers | None = None) -> Split:
    """Counts per stratum and whole bin since a change, from the ledger.

    The bin that holds the change and the one after it are left out: a balancer takes
    a moment. The others are the releases ``beside`` it, or all there are.
    """
    ledger = sight.scope.ledger
    now_ms = sight.now_ms // ledger.fine_ms * ledger.fine_ms
    start_ms = max(since_ms, now_ms - FINE_KEPT_MS) + ledger.fine_ms
    at = start_ms, at_bin(sight)
    known: tuple[Hashable, Table, dict[Numbers, Split]] | None
    known = sight.cache.get("split")
    if known is None or known[0] != at:
        known = at, ledger.table(start_ms, now_ms, coarse=False), {}
        sight.cache["split"] = known
    _, table, splits = known
    own = sight.release.number
    others = frozenset(release for release, _ in table.keys) - {own, FOLDED}
    if beside is not None:
        others &= beside
    if others not in splits:
        splits[others] = _joint(table, own, others)
    return splits[others]


def at_bin(sight: Sight) -> tuple[Hashable, ...]:
    """What changes when there is anything new to see in the fine bins."""
    ledger, strata = sight.scope.ledger, sight.scope.strata
    at = sight.now_ms // ledger.fine_ms
    return at, len(ledger.fine), strata.attrs, strata.next_number


def inverse_rates(sight: Sight) -> tuple[float, float]:
    """One over the share of usage that sampling kept: candidate, all others."""
    known: tuple[int, tuple[float, float]] | None = sight.cache.get("inverse rates")
    if known is None or known[0] != sight.now_ms:
        kept = sight.scope.usage_rates
        known = sight.now_ms, rates_of(sight.window, sight.release.number, kept)
        sight.cache["inverse rates"] = known
    return known[1]


def rates_of(
    window: OpenWindow, candidate: int, kept: Mapping[int, float]
) -> tuple[float, float]:
    """The same for the arms of one window.

    An arm without usage in it is sampled as it was before, as ``kept`` says by
    release: nothing came perhaps because little is kept.
    """
    seen, weighted = [0.0, 0.0], [0.0, 0.0]
    for (release, _), cell in sorted(window.cells.items()):
        arm = 0 if release == candidate else 1
        seen[arm] += cell.seen_units
        weighted[arm] += cell.weighted_units
    before = (
        kept.get(candidate, 1.0),
        min((rate for number, rate in kept.items() if number != candidate), default=1),
    )
    own, rest = (
        w / s if s else 1.0 / rate
        for w, s, rate in zip(weighted, seen, before, strict=True)
    )
    return own, rest


def segment_rows(sight: Sight, numbers: list[int]) -> tuple[list[Segment], BoolArray]:
    """Segments that are a part of some strata, and which of them lie inside.

    The whole is none of them, nor is a segment that holds all of the strata. Shape
    of the second: (segments, strata).
    """
    strata = sight.scope.strata
    at = strata.attrs, strata.next_number, tuple(numbers)
    known: tuple[Hashable, list[Segment], BoolArray] | None
    known = sight.cache.get("segment rows")
    if known is None or known[0] != at:
        known = at, *_segment_rows(strata, numbers)
        sight.cache["segment rows"] = known
    return known[1], known[2]


def _segment_rows(
    strata: Strata, numbers: list[int]
) -> tuple[list[Segment], BoolArray]:
    keys = strata.key_of()
    belongs = [set(segments_of(strata.attrs, keys.get(n, ()))) for n in numbers]
    found = [s for s in initial_segments(strata) if s]
    rows = [[segment in segments for segments in belongs] for segment in found]
    parts = [i for i, row in enumerate(rows) if any(row) and not all(row)]
    inside = np.array([rows[i] for i in parts], dtype=np.bool_)
    return [found[i] for i in parts], inside.reshape(len(parts), len(numbers))


def sums_of(inside: BoolArray, counts: FloatArray) -> FloatArray:
    """Sums of strata by segment: (..., strata, bins) to (..., segments, bins).

    Not by ``@``: what a library for matrices adds first is its own affair, and a
    replay elsewhere must come to the last bit.
    """
    total: FloatArray = np.einsum("gs,...sb->...gb", inside.astype(np.float64), counts)
    return total


def _joint(table: Table, candidate: int, others: Numbers) -> Split:
    strata = sorted({where for release, where in table.keys if release == candidate})
    place = {where: row for row, where in enumerate(strata)}
    shape = len(strata), len(table.ends_ms), len(MEASURES)
    own, rest = np.zeros(shape), np.zeros(shape)
    for (release, where), values in zip(table.keys, table.values, strict=True):
        if where in place and (release == candidate or release in others):
            arm = own if release == candidate else rest
            arm[place[where]] += values
    both = _whole(own[:, :, LINES]) & (rest[:, :, LINES] > 0)
    own[~both] = 0.0
    rest[~both] = 0.0
    told = both & ~np.isnan(own[:, :, SESSIONS] + rest[:, :, SESSIONS])
    return Split(strata, table.ends_ms, table.bin_ms, own, rest, told)


def _whole(lines: FloatArray) -> BoolArray:
    """Bins with as many usage lines as usual: no sender's line is missing."""
    whole: BoolArray = lines > 0
    if lines.size and not np.any(whole & (lines != lines.max())):
        return whole  # one number of lines wherever there is any
    for row, present in zip(lines, whole, strict=True):
        if present.any():
            present &= row >= FULL_SHARE * quantile(row[present], USUAL_QUANTILE)
    return whole
