"""Durations over time: how many records lay above a few fixed edges, for days.

A release that replaced its predecessor everywhere can only be compared with the past.
Keeping every bucket of every window would cost more than it tells: shifts of 1.3 are
seen with edges 1.6 apart. So up to 23 edges are chosen once from what the service
sends, and each bin keeps the records above each of them.
"""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct, field

from detector.durations import EXPLICIT, Durations, edge_id
from detector.evidence.exceedance import nearest_edges
from detector.evidence.types import FloatArray
from detector.ledger import DAY_MS, Key, Wanted
from detector.strip import Strip, row_of

EDGES_MAX = 23
STRATA_MAX = 16
"""Strata kept apart, first seen first; the others are kept as one."""

OTHERS = -1
"""Number of the stratum of those others."""

STEP = 1.35
"""Least ratio of neighbouring edges where a layout offers more than are kept."""

EDGES_BELOW = 6
"""How many of the edges lie below the first median seen; the rest are the tail."""

UNUSED_MS = 2 * DAY_MS
"""After this time without a readable record the edges are chosen anew."""


class DurationStrip(Strip):
    """Records of one release and stratum by bin, then those above each edge."""

    ROW = row_of(EDGES_MAX + 1)


Page = dict[Key, DurationStrip]


class DurationLedger(Struct, array_like=True):
    """Exceedances of one scope in bins of ``bin_ms``, kept for ``kept_ms``."""

    kept_ms: int
    bin_ms: int = 0
    edges_ms: tuple[float, ...] = ()
    strata: list[int] = field(default_factory=list)
    pages: dict[int, Page] = field(default_factory=dict)
    newest_ms: int = -1

    def set_bin(self, bin_ms: int) -> None:
        """Choose the width of a bin; another one starts anew."""
        if bin_ms != self.bin_ms:
            self.bin_ms, self.pages = bin_ms, {}

    def add(self, end_ms: int, key: Key, durations: Durations) -> None:
        """Add one cell of a closed window; windows come in order of time."""
        if durations.total <= 0:
            return
        if self.edges_ms and end_ms - self.newest_ms > UNUSED_MS:
            self.edges_ms, self.pages = (), {}
        if not self.edges_ms:
            self.edges_ms = chosen_edges(durations)
        if not self.edges_ms:
            return
        above, known = durations.above(self.edges_ms)
        seen = durations.well_known(known)
        if not seen.any():  # another layout altogether: nothing to compare it with
            return
        shares = np.where(seen, above / np.where(known > 0, known, 1.0), math.nan)
        total = durations.total
        filled = [*(shares * total).tolist(), *[0.0] * (EDGES_MAX - len(shares))]
        number = (end_ms - 1) // self.bin_ms
        page = self.pages.setdefault((end_ms - 1) // DAY_MS, {})
        place = (key[0], self._stratum(key[1]))
        track = page.setdefault(place, DurationStrip(number))
        track.add(number, [total, *filled])
        self.newest_ms = max(self.newest_ms, end_ms)
        self._forget()

    def exceedances(
        self, edge: int, start_ms: int, end_ms: int, wanted: Wanted
    ) -> tuple[FloatArray, FloatArray]:
        """Records above an edge, and all, in the bins that end in (start, end].

        Parameters
        ----------
        edge : int
            Position in ``edges_ms``.
        wanted : callable
            Says of a (release, stratum) whether it counts.

        Returns
        -------
        above, records : arrays of shape (bins,)
            NaN where nothing arrived or the edge was not known.
        """
        return exceedances_in(self.sums(start_ms, end_ms, wanted), edge)

    def edges_for(
        self,
        start_ms: int,
        end_ms: int,
        wanted: Wanted,
        quantiles: tuple[float, ...],
    ) -> list[int]:
        """Positions of the edges nearest to the quantiles of that time.

        Each edge once; edges that the time did not know throughout are left out.
        """
        values = self.sums(start_ms, end_ms, wanted)[:, : 1 + len(self.edges_ms)]
        total = values.sum(axis=0)
        known = np.flatnonzero(np.isfinite(total[1:]))
        units = np.full(known.size, total[0])
        nearest = nearest_edges(total[1:][known], units, quantiles)
        return sorted({int(known[i]) for i in nearest})

    def sums(self, start_ms: int, end_ms: int, wanted: Wanted) -> FloatArray:
        """Records, and those above each edge, of the bins that end in (start, end].

        Shape (bins, 1 + EDGES_MAX).
        """
        first, last = -(-start_ms // self.bin_ms), end_ms // self.bin_ms
        total = np.zeros((max(0, last - first), EDGES_MAX + 1))
        for day in sorted(self.pages):
            for key in sorted(self.pages[day]):
                if not wanted(key):
                    continue
                track = self.pages[day][key]
                low, high = max(first, track.first), min(last, track.end)
                if low < high:
                    total[low - first : high - first] += track.rows(low, high)
        return total

    def _stratum(self, number: int) -> int:
        if number in self.strata:
            return number
        if len(self.strata) >= STRATA_MAX:
            return OTHERS
        self.strata.append(number)
        return number

    def _forget(self) -> None:
        oldest = (self.newest_ms - self.kept_ms) // DAY_MS
        for day in [d for d in self.pages if d < oldest]:
            del self.pages[day]


def exceedances_in(sums: FloatArray, edge: int) -> tuple[FloatArray, FloatArray]:
    """Records above an edge, and all; NaN where nothing arrived."""
    above, records = sums[:, 1 + edge], sums[:, 0]
    there = np.isfinite(above) & (records > 0)
    return np.where(there, above, np.nan), np.where(there, records, np.nan)


def chosen_edges(durations: Durations) -> tuple[float, ...]:
    """Edges to keep, from the first records of a service.

    All bounds of the largest layout if they are few enough, else those nearest to a
    geometric grid through the median.
    """
    largest = max(durations.parts, key=lambda part: part.total)
    edges = [edge for edge in largest.edges_ms() if edge > 0]
    if not edges or (largest.scale == EXPLICIT and len(edges) <= EDGES_MAX):
        return tuple(edges)
    above = np.array(largest.above(edges))
    middle = edges[int(np.argmin(np.abs(above - 0.5 * largest.total)))]
    grid = [middle * STEP ** (i - EDGES_BELOW) for i in range(EDGES_MAX)]
    if largest.scale == EXPLICIT:
        logs = np.log(edges)
        near = {int(np.argmin(np.abs(logs - math.log(wanted)))) for wanted in grid}
        return tuple(edges[i] for i in sorted(near))
    places = {round(math.ldexp(math.log2(edge), largest.scale)) for edge in grid}
    return tuple(edge_id(2.0 ** math.ldexp(i, -largest.scale)) for i in sorted(places))
