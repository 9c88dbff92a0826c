"""Counts of closed windows over time: the past that later questions are asked of.

The e-processes forget windows as soon as they have seen them. Whatever compares a
release with the past, with other regions or with a plan needs counts by time: per
release and stratum, in bins, for days. Recent bins are fine, older ones coarse;
coarse bins live in pages of one day, so that a snapshot rewrites today's page only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from msgspec import Struct, field

from detector.evidence.types import FloatArray, IntArray
from detector.strip import Strip, row_of

MEASURES = ("units", "bad", "requests", "lines", "sessions", "ok")
UNITS, BAD, REQUESTS, LINES, SESSIONS, OK = range(len(MEASURES))

DAY_MS = 86_400_000
FINE_MIN_MS = 60_000
FINE_KEPT_MS = 4 * 3_600_000
COARSE_MIN_MS = 300_000
COARSE_KEPT_MS = 16 * DAY_MS
"""A past of eight days and a watch of seven: what a verdict rests on is not lost
while the verdict can still be reached."""

KEYS_MAX = 512
"""Release and stratum pairs in one page; further ones are folded together."""

FOLDED = 0
"""Number of no release: what found no room of its own."""

Key = tuple[int, int]
Wanted = Callable[[Key], bool]
"""Says of a release and stratum whether it counts."""


class Values(NamedTuple):
    """What is added to a bin: one number for each measure.

    Sessions started and requests that ended well are NaN where not every usage line
    tells both: a bin with such a cell is not known to hold all of them.
    """

    units: float
    bad: float
    requests: float
    lines: float
    sessions: float = math.nan
    ok: float = math.nan


class CountStrip(Strip):
    """Counts of one release and stratum, bin by bin."""

    ROW = row_of(len(MEASURES))


Page = dict[Key, CountStrip]


class Table(NamedTuple):
    """Counts on a common time axis.

    ``values`` has shape (keys, bins, measures); a bin without lines of a key is all
    zero there: nothing arrived, which is not the same as nothing happened.
    """

    bin_ms: int
    ends_ms: IntArray
    keys: list[Key]
    values: FloatArray

    def sum_of(self, wanted: Wanted) -> FloatArray:
        """Sum over the keys that are wanted, shape (bins, measures)."""
        chosen = [i for i, key in enumerate(self.keys) if wanted(key)]
        total: FloatArray = self.values[chosen].sum(axis=0)
        return total


class Ledger(Struct, array_like=True):
    """Bins of one scope; see the module."""

    fine_ms: int = 0
    coarse_ms: int = 0
    fine: Page = field(default_factory=dict)
    pages: dict[int, Page] = field(default_factory=dict)
    newest_ms: int = -1

    def set_width(self, width_ms: int) -> None:
        """Choose the bins for windows of this width; wider ones start anew.

        Coarse bins that no longer hold whole windows are forgotten: they could not
        be compared with what follows.
        """
        fine = width_ms * -(-FINE_MIN_MS // width_ms)
        coarse = coarse_bin_ms(fine)
        if (fine, coarse) != (self.fine_ms, self.coarse_ms):
            if coarse != self.coarse_ms:
                self.pages = {}
            self.fine_ms, self.coarse_ms, self.fine = fine, coarse, {}

    def add(self, end_ms: int, key: Key, values: Values) -> None:
        """Add one cell of a closed window; windows come in order of time."""
        self.newest_ms = max(self.newest_ms, end_ms)
        number = (end_ms - 1) // self.coarse_ms
        page = self.pages.setdefault(end_ms // DAY_MS, {})
        _strip(page, key, number).add(number, values)
        if self.fine_ms < self.coarse_ms:
            number = (end_ms - 1) // self.fine_ms
            _strip(self.fine, key, number).add(number, values)

    def forget(self) -> None:
        """Drop what is older than is kept."""
        first = (self.newest_ms - FINE_KEPT_MS) // self.fine_ms
        for key, strip in list(self.fine.items()):
            strip.drop_before(first)
            if not strip.data:
                del self.fine[key]
        oldest = (self.newest_ms - COARSE_KEPT_MS) // DAY_MS
        for day in [d for d in self.pages if d < oldest]:
            del self.pages[day]

    def fold_release(self, release: int) -> None:
        """Add a release that is let go to nobody's counts; days before stay."""
        today = self.pages.get(self.newest_ms // DAY_MS, {})
        for page in (today, self.fine):
            for key in [k for k in page if k[0] == release]:
                gone = page.pop(key)
                kept = _strip(page, (FOLDED, key[1]), gone.first)
                kept.absorb(gone)

    def table(self, start_ms: int, end_ms: int, *, coarse: bool = True) -> Table:
        """Bins that end in ``(start_ms, end_ms]``, every key with a line in them."""
        coarse = coarse or self.fine_ms == self.coarse_ms
        bin_ms = self.coarse_ms if coarse else self.fine_ms
        first, last = -(-start_ms // bin_ms), end_ms // bin_ms
        size = max(0, last - first)
        pages = self._pages(start_ms, end_ms) if coarse else [self.fine]
        keys = sorted({key for page in pages for key in page})
        row_of = {key: i for i, key in enumerate(keys)}
        values = np.zeros((len(keys), size, len(MEASURES)))
        for page in pages:
            for key, strip in page.items():
                low = max(first, strip.first)
                high = min(last, strip.end)
                if low < high:
                    part = values[row_of[key], low - first : high - first]
                    part += strip.rows(low, high)
        ends = (np.arange(first, last) + 1) * bin_ms
        return Table(bin_ms, ends, keys, values)

    def oldest_ms(self) -> int:
        """Start of the oldest bin, -1 where there is none."""
        for day in sorted(self.pages):
            firsts = [strip.first for strip in self.pages[day].values()]
            if firsts:
                return min(firsts) * self.coarse_ms
        return -1

    def _pages(self, start_ms: int, end_ms: int) -> list[Page]:
        low, high = start_ms // DAY_MS, end_ms // DAY_MS
        return [self.pages[day] for day in sorted(self.pages) if low <= day <= high]


def coarse_bin_ms(fine_ms: int) -> int:
    """Smallest multiple of the fine bin, 5 min or more, of which a day is made.

    Examples
    --------
    >>> [coarse_bin_ms(fine * 1000) // 1000 for fine in (60, 120, 300, 3600)]
    [300, 360, 300, 3600]
    """
    size = fine_ms * -(-COARSE_MIN_MS // fine_ms)
    while DAY_MS % size and size < DAY_MS:
        size += fine_ms
    return size


def _strip(page: Page, key: Key, number: int) -> CountStrip:
    found = page.get(key)
    if found is None:
        if len(page) >= KEYS_MAX:
            key = (FOLDED, key[1])
            if key not in page and len(page) >= 2 * KEYS_MAX:
                key = (FOLDED, FOLDED)
        found = page.setdefault(key, CountStrip(number))
    return found
