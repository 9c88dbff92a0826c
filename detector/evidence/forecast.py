"""What would the past have predicted? Rates of a block from the time before it."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np

from detector.evidence.order import median, median_of_sorted, quantile_of_sorted
from detector.evidence.types import BoolArray, FloatArray, IntArray

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS

HALF = 0.5
"""Added to every count, so that it has a logarithm."""

DAYS_MAX = 14
"""Days a daily profile looks back at most."""

HOUR_BINS_MIN = 3
"""Bins of the level just before, at least: one wide window is too noisy."""


UNKNOWN_RATE = 1e300
"""Above every rate, and still 0 where there are no units."""


class Terms(NamedTuple):
    """What a comparison with the past asks for.

    Attributes
    ----------
    margin : float
        Ratio that is tolerated, 1 or more.
    direction : int
        1: more is worse (errors, slow requests); -1: less is worse (volume).
    volume : bool
        A count without a denominator: units are the bins that arrived.
    """

    margin: float = 1.25
    direction: int = 1
    volume: bool = False


RATES = Terms()
VOLUME = Terms(margin=1.12, direction=-1, volume=True)


class Forecast(NamedTuple):
    """Predicted rates and the counts they rest on, one per start."""

    rate: FloatArray
    weight: FloatArray


Forecasts: TypeAlias = dict[str, Forecast]


class Forecaster:
    """Predictions of blocks from a series with gaps, by prefix sums.

    Parameters
    ----------
    bad, units : array of shape (bins,)
        NaN where nothing arrived.
    bin_ms : int
    terms : Terms
    """

    def __init__(
        self, bad: FloatArray, units: FloatArray, bin_ms: int, terms: Terms
    ) -> None:
        there = np.isfinite(bad) & np.isfinite(units)
        self.bins, self.bin_ms = len(bad), bin_ms
        self.hour = max(HOUR_BINS_MIN, round(HOUR_MS / bin_ms))
        self.day = max(1, round(DAY_MS / bin_ms))
        self._volume = terms.volume
        self._bad = _prefix(np.where(there, bad, 0.0))
        self._units = _prefix(np.where(there, units, 0.0))
        self._there = _prefix(there.astype(np.float64))
        self._next: tuple[object, Forecasts] | None = None

    def window(self, first: IntArray, last: IntArray) -> tuple[FloatArray, FloatArray]:
        """Bad and units of bins [first, last); NaN outside or if half of it is gone."""
        inside = (first >= 0) & (last <= self.bins)
        low, high = np.where(inside, first, 0), np.where(inside, last, 0)
        there = self._there[high] - self._there[low]
        units = self._units[high] - self._units[low]
        fit = inside & (there > 0) & (2 * there >= last - first) & (units > 0)
        bad = np.where(fit, self._bad[high] - self._bad[low], np.nan)
        return bad, np.where(fit, units, np.nan)

    def predict(
        self, starts: IntArray, age: IntArray | int, size: IntArray | int
    ) -> Forecasts:
        """Rate of the block of ``size`` bins that ends ``age`` bins after each start.

        Only bins before the start are read. ``hour`` and ``day`` are the level just
        before, ``profile`` the same block on the days before, ``moved`` the profile
        times how far the last hour was off its own profile, ``week`` the same block
        a week ago. A bare level says nothing about volume with a daily rhythm.

        Returns
        -------
        dict of Forecast
            By name of the prediction; NaN where the past does not reach.
        """
        found: Forecasts = {}
        near = _forecast(*self.window(starts - self.hour, starts))
        if not self._volume or self.bins < self.day:
            found["hour"] = near
        if not self._volume:
            found["day"] = _forecast(*self.window(starts - self.day, starts))
        first = starts + age - size
        profile = self._profile(starts, first, size)
        found["profile"] = profile
        own = self._profile(starts, starts - self.hour, self.hour)
        soon = np.broadcast_to(np.asarray(age) <= self.day, starts.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where(soon, profile.rate * (near.rate / own.rate), np.nan)
            weight = 1 / (1 / profile.weight + 1 / near.weight + 1 / own.weight)
        found["moved"] = Forecast(np.where(np.isfinite(rate), rate, np.nan), weight)
        if self._volume:
            low = first - 7 * self.day
            known = low + size <= starts
            week = _forecast(*self.window(low, low + size))
            found["week"] = Forecast(np.where(known, week.rate, np.nan), week.weight)
        return found

    def predict_next(self, age_bins: int, size: IntArray) -> Forecasts:
        """The same from the end of the series on, so many bins later, for some sizes.

        Computed once for as long as neither changes: sizes are in bins too.
        """
        asked = age_bins, size.tobytes()
        if self._next is None or self._next[0] != asked:
            starts = np.full(len(size), self.bins)
            self._next = asked, self.predict(starts, np.maximum(age_bins, size), size)
        return self._next[1]

    def _profile(
        self, starts: IntArray, first: IntArray, size: IntArray | int
    ) -> Forecast:
        """Median over the days before of the block that begins at ``first``."""
        days = np.arange(1, min(DAYS_MAX, self.bins // self.day + 1) + 1)
        low = first - days[:, None] * self.day
        bad, units = self.window(low, low + size)
        known = np.isfinite(bad) & (low + size <= starts)
        weight = np.where(known, bad, 0.0).sum(axis=0)
        return Forecast(_median_rows(np.where(known, bad / units, np.nan)), weight)


def may_exceed(
    bad: FloatArray, units: FloatArray, forecasts: Forecasts, terms: Terms
) -> BoolArray:
    """Blocks that are beyond the margin of the mildest of their predictions.

    Any mean of predictions lies between them: nothing else can be beyond it, whatever
    the predictions turn out to be worth.
    """
    if terms.direction < 0:
        return np.ones(len(bad), dtype=np.bool_)
    rates = np.array([rate for rate, _ in forecasts.values()])
    rates = np.where(np.isfinite(rates), rates, UNKNOWN_RATE)
    mildest = rates.min(axis=0) * (1 - 1e-9)  # rounding dismisses nothing
    maybe: BoolArray = bad > mildest * terms.margin * units
    return maybe


def robust_spread(errors: FloatArray, noise: FloatArray) -> float:
    """Variance of prediction errors beyond Poisson noise, seen through incidents.

    The larger of what the upper 85 % quantile, the median absolute deviation and
    the median say, less the median of ``noise``. Not the maximum: the past holds
    incidents. NaN where there was no prediction.
    """
    seen = np.isfinite(errors)
    if not seen.any():
        return 0.0
    known = np.sort(errors[seen])
    middle = median_of_sorted(known)
    deviation = 1.4826 * median(np.abs(known - middle))
    upper = quantile_of_sorted(known, 0.85) / 1.036
    spread = max(upper, deviation, abs(middle))
    return max(0.0, spread * spread - median(noise[seen]))


def _prefix(values: FloatArray) -> FloatArray:
    return np.concatenate([[0.0], np.cumsum(values)])


def _forecast(bad: FloatArray, units: FloatArray) -> Forecast:
    return Forecast(bad / units, bad)


def _median_rows(rows: FloatArray) -> FloatArray:
    """Median of each column over the rows that are not NaN; NaN if none is."""
    ordered = np.sort(rows, axis=0)  # NaN last
    count = np.isfinite(rows).sum(axis=0)
    columns = np.arange(rows.shape[1])
    low = ordered[np.maximum(count - 1, 0) // 2, columns]
    high = ordered[np.minimum(count // 2, len(rows) - 1), columns]
    result: FloatArray = np.where(count > 0, (low + high) / 2, np.nan)
    return result
