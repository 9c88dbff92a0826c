"""How regions move: rates, predictions from their own past, and how far they stray.

A region is predicted in three ways: ``level`` its last hour before a flip, ``day``
the same hours of past days, ``change`` its last hour moved as it moved on past days
at this time. What is left after the movement common to all regions is its own
wander, and how far that goes is learnt from pseudo-flips of the past.
"""

from __future__ import annotations

import math
import statistics
from typing import NamedTuple

import numpy as np

from detector.evidence.order import median, median_of_sorted, quantile_of_sorted
from detector.evidence.types import BoolArray, FloatArray, IntArray

PREDICTORS = ("level", "day", "change")
DAYS_MAX = 7
PSEUDO_FLIPS_MAX = 400
"""Places in the past at which a flip is tried; more only repeat each other."""

PRIOR_SD = 0.1
PRIOR_BLOCKS = 4.0
"""Log-sd of a region's own wander before any was seen, and its weight in blocks."""

HUBER = 1.5
HUBER_STEPS = 4
Spreads = dict[tuple[int, int, int], FloatArray]
"""Learnt spreads by (end of the past, age, block), kept by the caller."""


class Panel(NamedTuple):
    """Failures and units of regions in bins: cumulated, shape (regions, bins + 1)."""

    bad: FloatArray
    units: FloatArray
    day: int
    hour: int

    @classmethod
    def of(cls, bad: FloatArray, units: FloatArray, day: int, hour: int) -> Panel:
        """Panel of counts of shape (regions, bins); ``day``, ``hour`` in bins."""
        edge = np.zeros((len(bad), 1))
        return cls(
            np.concatenate([edge, np.cumsum(bad, axis=1)], axis=1),
            np.concatenate([edge, np.cumsum(units, axis=1)], axis=1),
            day,
            hour,
        )

    def rate(self, start: IntArray, end: IntArray) -> Estimate:
        """Log rate of each region in bins ``[start, end)``, nan without units."""
        inside = (start >= 0) & (end > start)
        a, b = np.where(inside, start, 0), np.where(inside, end, 0)
        bad = self.bad[:, b] - self.bad[:, a] + 0.5
        units = self.units[:, b] - self.units[:, a]
        known = units > 0
        value = np.where(known, np.log(bad / np.where(known, units, 1.0)), np.nan)
        return Estimate(value, np.where(known, 1.0 / bad, np.nan))


class Estimate(NamedTuple):
    """Values and their Poisson variances, same shape; nan where nothing is known."""

    value: FloatArray
    variance: FloatArray


def deviations(
    panel: Panel, flip: IntArray, start: IntArray, end: IntArray
) -> tuple[Estimate, ...]:
    """Log rate in ``[start, end)`` minus what was predicted for it at ``flip``.

    Parameters
    ----------
    panel : Panel
    flip, start, end : int arrays, shape (places,)

    Returns
    -------
    tuple of Estimate
        One for each of `PREDICTORS`, shape (regions, places). Days count only as
        far as the block lay before the flip.
    """
    block = panel.rate(start, end)
    hour = panel.rate(flip - panel.hour, flip)
    past: list[Estimate] = []
    moves: list[Estimate] = []
    for back in range(1, min(DAYS_MAX, int(flip.max()) // panel.day + 1) + 1):
        shift = back * panel.day
        before = end - shift <= flip
        there = panel.rate(np.where(before, start - shift, -1), end - shift)
        then = panel.rate(flip - panel.hour - shift, flip - shift)
        past.append(there)
        moves.append(_minus(there, then))
    return (
        _minus(block, hour),
        _minus(block, _mean(past)),
        _minus(_minus(block, hour), _mean(moves)),
    )


def robust_mean(value: FloatArray, variance: FloatArray) -> tuple[float, float]:
    """Mean of regions and its variance; of three or more, a strange one counts less.

    Huber's weights [1]_ around the median; regions without a value are left out.

    References
    ----------
    .. [1] Huber (1964), Annals of Mathematical Statistics 35(1), 73-101.
    """
    known = [
        (v, n)
        for v, n in zip(value.tolist(), variance.tolist(), strict=True)
        if math.isfinite(v) and math.isfinite(n)
    ]
    if not known:
        return 0.0, math.inf
    many = len(known) >= 3
    weights = [1.0 / n for _, n in known]
    middle = (
        statistics.median(v for v, _ in known) if many else _mean_of(known, weights)
    )
    for _ in range(HUBER_STEPS if many else 0):
        pulled = [
            (1.0 / n) * min(1.0, HUBER / max(abs(v - middle) / math.sqrt(n), 1e-9))
            for v, n in known
        ]
        middle, weights = _mean_of(known, pulled), pulled
    return middle, 1.0 / sum(weights)


def _mean_of(known: list[tuple[float, float]], weights: list[float]) -> float:
    return sum(w * v for w, (v, _) in zip(weights, known, strict=True)) / sum(weights)


def wander(
    panel: Panel, first: int, age_bins: int, size: int, spreads: Spreads
) -> FloatArray:
    """Log-sd of regions' own movement ``age_bins`` after a prediction.

    Pseudo-flips slide over the past; ages are taken on a grid and no further than
    half of the past, beyond which the variance grows in proportion.
    """
    size = _grid(size + 1, down=True)
    reach = min(_grid(age_bins), max(size, first // 2))
    key = (first, reach, size)
    if key not in spreads:
        spreads[key] = _learn(panel, first, reach, size)
    grown: FloatArray = spreads[key] * math.sqrt(max(1.0, age_bins / reach))
    return grown


def _learn(panel: Panel, first: int, age: int, size: int) -> FloatArray:
    last = first - age
    if last < panel.hour:
        return np.full(len(PREDICTORS), 1.5 * PRIOR_SD)
    step = max(1, (last - panel.hour) // PSEUDO_FLIPS_MAX)
    flip = np.arange(panel.hour, last + 1, step)
    out = np.empty(len(PREDICTORS))
    found = deviations(panel, flip, flip + (age - size), flip + age)
    for p, moved in enumerate(found):
        middle, _ = _robust_columns(moved.value, moved.variance + PRIOR_SD**2)
        regions = np.isfinite(moved.value).sum(axis=0)
        lost = np.sqrt(regions / np.maximum(1, regions - 1))
        apart = (moved.value - middle) * lost
        known = np.isfinite(apart) & (regions > 1)
        out[p] = _excess_sd(apart[known], moved.variance[known], step, size)
    return out


def _excess_sd(apart: FloatArray, noise: FloatArray, step: int, size: int) -> float:
    """Sd beyond Poisson noise, shrunk to the prior by how many blocks there are."""
    prior = (1.5 * PRIOR_SD) ** 2
    if not len(apart):
        return 1.5 * PRIOR_SD
    distance = np.sort(np.abs(apart))
    upper = quantile_of_sorted(distance, 0.7) / 1.036
    wide = max(upper, 1.4826 * median_of_sorted(distance))
    own = max(0.0, wide**2 - median(noise))
    blocks = len(apart) * min(1.0, step / size)
    weight = blocks / (blocks + PRIOR_BLOCKS)
    return math.sqrt(weight * own + (1 - weight) * prior + 0.25 * PRIOR_SD**2)


def _robust_columns(
    value: FloatArray, variance: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """`robust_mean` of every column; 0 with a variance of infinity for an empty one."""
    known: BoolArray = np.isfinite(value) & np.isfinite(variance)
    noise = np.where(known, variance, 1.0)
    weight = known / noise
    value = np.where(known, value, 0.0)
    many = known.sum(axis=0) >= 3
    middle = np.where(many, _median(value, known), _weighted(value, weight))
    for _ in range(HUBER_STEPS):
        far = np.abs(value - middle) / np.sqrt(noise)
        pull = np.where(many, np.minimum(1.0, HUBER / np.maximum(far, 1e-9)), 1.0)
        middle = _weighted(value, weight * pull)
    total = (weight * pull).sum(axis=0)
    with np.errstate(divide="ignore"):
        return middle, 1.0 / total


def _median(value: FloatArray, known: BoolArray) -> FloatArray:
    count = known.sum(axis=0)
    ordered = np.sort(np.where(known, value, np.inf), axis=0)
    columns = np.arange(value.shape[1])
    low = ordered[np.maximum(0, (count - 1) // 2), columns]
    high = ordered[np.minimum(len(value) - 1, count // 2), columns]
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, (low + high) / 2, 0.0)


def _weighted(value: FloatArray, weight: FloatArray) -> FloatArray:
    total = weight.sum(axis=0)
    mean: FloatArray = (weight * value).sum(axis=0) / np.where(total > 0, total, 1.0)
    return mean


def _minus(left: Estimate, right: Estimate) -> Estimate:
    return Estimate(left.value - right.value, left.variance + right.variance)


def _mean(parts: list[Estimate]) -> Estimate:
    values = np.stack([part.value for part in parts])
    noise = np.stack([part.variance for part in parts])
    known = np.isfinite(values)
    count = known.sum(axis=0)
    safe = np.maximum(1, count)
    value = np.where(known, values, 0.0).sum(axis=0) / safe
    variance = np.where(known, noise, 0.0).sum(axis=0) / safe**2
    empty = count == 0
    return Estimate(np.where(empty, np.nan, value), np.where(empty, np.nan, variance))


def _grid(age: int, *, down: bool = False) -> int:
    """``age`` on a grid of ratio about 1.3: the next point, or the last one below."""
    below, step = 1, 1
    while step < age:
        below, step = step, max(step + 1, int(step * 1.3))
    return below if down else step
