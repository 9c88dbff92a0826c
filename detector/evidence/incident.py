"""Was something wrong already when control was lost? Then it is not the release's.

An incident that began before the flip explains a high rate until it is over; a new
rise after that counts again.
"""

from __future__ import annotations

import math

import numpy as np

from detector.evidence.forecast import HALF, Forecaster
from detector.evidence.types import BoolArray, FloatArray

RUNNING_MS = 900_000
"""An incident that began this shortly before the loss of control is recognised."""


class Incident:
    """Which moments of a past were remarkable, and whether its end was.

    A moment is remarkable if the rate of the quarter hour or of the hour before it is
    off the usual one by more than three median absolute deviations and a third.

    Attributes
    ----------
    calm : array of shape (bins + 1,)
        Which bins do not begin inside an incident; the last one is the flip.
    rate : float or None
        Rate of an incident that was running at the flip.
    """

    def __init__(self, source: Forecaster) -> None:
        self.calm, self._middle, self._limit = _levels(source)
        self.rate = None if self.calm[-1] else self._running(source)

    def bins_until_over(self, bad: FloatArray, units: FloatArray) -> int:
        """Bins since the flip until the rate was halfway back; 0 while it is not."""
        if self.rate is None:
            return 0
        level = math.exp((math.log(self.rate) + self._middle) / 2)
        level = min(level, math.exp(self._middle + self._limit))
        with np.errstate(invalid="ignore"):
            over = np.flatnonzero((bad + HALF) / (units + HALF) <= level)
        return int(over[0]) + 1 if len(over) else 0

    def _running(self, source: Forecaster) -> float | None:
        """Rate of an incident that was running when control was lost."""
        ends = np.arange(max(1, source.bins - 2), source.bins + 1)
        bad, units = source.window(ends - 1, ends)
        rates = (bad + HALF) / (units + HALF)
        rate = float(np.nanmax(rates)) if np.isfinite(rates).any() else math.nan
        return rate if rate > math.exp(self._middle + self._limit) else None


def _levels(source: Forecaster) -> tuple[BoolArray, float, float]:
    """Which bins start calmly, the usual level and how far calm reaches."""
    ends = np.arange(source.bins + 1)
    calm = np.ones(len(ends), dtype=bool)
    middle, limit = math.nan, math.inf
    for size in (max(1, round(RUNNING_MS / source.bin_ms)), source.hour):
        bad, units = source.window(ends - size, ends)
        level = np.log((bad + HALF) / (units + HALF))
        seen = level[np.isfinite(level)]
        if len(seen):
            middle = float(np.median(seen))
            off = np.abs(level - middle)
            limit = 3 * 1.4826 * float(np.nanmedian(off)) + 0.3
            calm &= ~(off > limit)
    return calm, middle, limit
