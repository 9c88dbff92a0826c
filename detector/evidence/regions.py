"""Did the regions a release has reached get worse than the others? Empirical.

A wave flips one region after another wholly, so no region has both arms. Instead
each region is compared with a prediction from its own past, and the regions that
have flipped with those that have not: a difference of differences. What happens
everywhere cancels, and so does whatever a region does every day at this hour.

Of the predictions that are about as precise as the best one, the smallest effect
decides, with the best one's error. Evidence does not accumulate: a region wanders on
its own, so it saturates at effect / spread.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from detector.evidence.panel import (
    PREDICTORS,
    Estimate,
    Panel,
    Spreads,
    deviations,
    robust_mean,
    wander,
)
from detector.evidence.types import FloatArray, IntArray

THRESHOLD = 2.75
"""z from which on a wave is taken for bad; measured, see the calibration test."""

BLOCK_MIN = 2
"""Bins of the shortest block: a blip of a single one is no regression."""

COMPARABLE = 2.0
"""A prediction with more than twice the error of the best neither fires nor vetoes."""

UNDER_WAY = 2.0
"""Errors by which a region must be up before its flip for that to be taken off."""

EXPECTED_MIN = 1.0
"""Failures a block must have been expected to hold: below, a log ratio is biased."""

RISE_MIN = math.log(1.1)
"""Rise over their own past that flipped regions must show, whatever others did."""

STILL_THERE = 0.4
"""Share of the effect that the newest bins alone must still show."""

NEVER = 1 << 40
"""Flip of a region that the release has not reached."""

Pair = tuple[int, int]
"""A flip and the length of a block since then, in bins."""

FIELDS = 7
"""Region, difference, its variance, variance of the reference, rise, bad, units."""


class Excess(NamedTuple):
    """How much worse the flipped regions are than the others, beyond the margin.

    ``z`` is ``(log_ratio - log margin) / error``; ``present`` whether the newest
    bins alone still show it. Counts are those of the block that decided;
    ``expected`` is what the flipped regions would have had with their own past and
    the movement of the others.
    """

    z: float
    log_ratio: float
    error: float
    present: bool
    predictor: str
    size: int
    treated: tuple[int, ...]
    untreated: tuple[int, ...]
    bad: float
    units: float
    expected: float


def wave_excess(
    panel: Panel, flips: IntArray, now: int, log_margin: float, spreads: Spreads
) -> Excess | None:
    r"""Whether the regions that flipped are worse than the others, at bin ``now``.

    Of a block of the last ``m`` bins, each flipped region's log rate minus its
    prediction minus the same of the regions that have not flipped,
    :math:`d_i`, with variance :math:`1/k_i + 1/k_{i,ref} + \tau^2`; combined over
    regions with the heterogeneity of DerSimonian & Laird [1]_ on top, so that a
    trouble of one region alone is not the release's. Smallest effect of comparable
    predictions, then the most telling ``m`` out of doubling ones.

    Parameters
    ----------
    panel : Panel
        Counts up to now; later bins are not looked at.
    flips : int array, shape (regions,)
        First bin in which a region is wholly on the release, `NEVER` if not yet.
    now : int
        Number of closed bins.
    log_margin : float
        Log of the ratio that is still acceptable.
    spreads : dict
        Cache of learnt spreads; may be empty, must belong to this panel's past.

    Returns
    -------
    Excess or None
        None before two bins after the first flip, or without regions to compare.

    References
    ----------
    .. [1] DerSimonian & Laird (1986), Controlled Clinical Trials 7(3), 177-188.
    """
    first = int(flips.min())
    if first >= now or now - first < BLOCK_MIN:
        return None
    held = _carried(panel, flips, now, spreads)
    sizes, size = [], BLOCK_MIN
    while size < now - first:
        sizes.append(size)
        size *= 2
    sizes.append(now - first)
    moves = _moves(panel, flips, now, sizes)
    rows = {
        pair: _differences(panel, flips, now, pair, moved, held, spreads)
        for pair, moved in moves.items()
    }
    looks = [
        found for size in sizes if (found := _block(rows, flips, now, size, log_margin))
    ]
    if not looks:
        return None
    best = max(looks, key=lambda look: look.z)
    newest = looks[0]
    still = newest.log_ratio >= max(log_margin, STILL_THERE * best.log_ratio)
    return best._replace(present=still and newest.size == BLOCK_MIN)


def pooled(
    value: FloatArray, variance: FloatArray, shared: FloatArray
) -> tuple[float, float]:
    """Common effect of several regions and its error.

    Random effects after DerSimonian & Laird; ``shared`` is the variance of the
    reference, which all of them have in common.
    """
    weight = 1.0 / variance
    mean = float((weight * value).sum() / weight.sum())
    if len(value) > 1:
        total = float(weight.sum())
        scale = total - float((weight**2).sum()) / total
        spare = float((weight * (value - mean) ** 2).sum()) - (len(value) - 1)
        weight = 1.0 / (variance + max(0.0, spare / scale))
        mean = float((weight * value).sum() / weight.sum())
    return mean, math.sqrt(1.0 / float(weight.sum()) + float(shared.max()))


def _moves(
    panel: Panel, flips: IntArray, now: int, sizes: list[int]
) -> dict[Pair, list[Estimate]]:
    """How all regions moved since each flip, over the newest bins, by predictor."""
    turned = _turned(flips, now)
    pairs = sorted({(flip, min(size, now - flip)) for flip in turned for size in sizes})
    starts = np.array([flip for flip, _ in pairs])
    ends = np.full(len(pairs), now)
    found = deviations(panel, starts, ends - np.array([s for _, s in pairs]), ends)
    return {
        pair: [Estimate(m.value[:, i], m.variance[:, i]) for m in found]
        for i, pair in enumerate(pairs)
    }


def _turned(flips: IntArray, now: int) -> list[int]:
    """The flips that a shortest block has passed since."""
    found: list[int] = np.unique(flips[flips <= now - BLOCK_MIN]).tolist()
    return found


def _block(
    rows: dict[Pair, FloatArray],
    flips: IntArray,
    now: int,
    size: int,
    log_margin: float,
) -> Excess | None:
    """The last ``size`` bins of every region that has been on the release so long."""
    parts = [rows[flip, min(size, now - flip)] for flip in _turned(flips, now)]
    merged = np.concatenate(parts, axis=1)  # (predictors, regions, fields)
    found = []
    for p in range(len(PREDICTORS)):
        mine = merged[p][np.isfinite(merged[p]).all(axis=1)]
        if len(mine):
            found.append((p, mine, *pooled(mine[:, 1], mine[:, 2], mine[:, 3])))
    if not found or max(_rise(mine) for _, mine, _, _ in found) < RISE_MIN:
        return None
    most = max(len(mine) for _, mine, _, _ in found)
    found = [row for row in found if len(row[1]) == most]
    error = min(row[3] for row in found)
    choice = [row for row in found if row[3] <= COMPARABLE * error]
    p, mine, ratio, _ = min(choice, key=lambda row: row[2])
    return Excess(
        z=(ratio - log_margin) / error,
        log_ratio=ratio,
        error=error,
        present=True,
        predictor=PREDICTORS[p],
        size=size,
        treated=tuple(int(i) for i in mine[:, 0]),
        untreated=tuple(int(i) for i in np.flatnonzero(flips >= now)),
        bad=float(mine[:, 5].sum()),
        units=float(mine[:, 6].sum()),
        expected=float((mine[:, 5] * np.exp(-mine[:, 1])).sum()),
    )


def _differences(
    panel: Panel,
    flips: IntArray,
    now: int,
    pair: Pair,
    moves: list[Estimate],
    held: FloatArray,
    spreads: Spreads,
) -> FloatArray:
    """Differences of the regions of one flip, shape (predictors, regions, 7)."""
    flip, size = pair
    mine = np.flatnonzero(flips == flip)
    others, untouched = _controls(panel, flips, now, flip)
    out = np.full((len(PREDICTORS), len(mine), FIELDS), np.nan)
    if not len(others):
        return out
    spread = wander(panel, int(flips.min()), now - flip, size, spreads)
    for p, moved in enumerate(moves):
        value, noise = moved.value, moved.variance + spread[p] ** 2
        if not np.isfinite(value[others]).any():
            continue
        if not untouched and PREDICTORS[p] == "day":
            continue  # they differ from past days by the effect itself
        middle, doubt = robust_mean(value[others], noise[others])
        if not untouched:
            middle = max(0.0, middle)
        bad = panel.bad[mine, now] - panel.bad[mine, now - size]
        rise = value[mine] - held[p, mine]
        expected = (bad + 0.5) * np.exp(middle - rise)
        out[p] = np.stack(
            [
                mine.astype(np.float64),
                np.where(expected >= EXPECTED_MIN, rise - middle, np.nan),
                noise[mine],
                np.full(len(mine), doubt),
                rise,
                bad,
                panel.units[mine, now] - panel.units[mine, now - size],
            ],
            axis=1,
        )
    return out


def _controls(
    panel: Panel, flips: IntArray, now: int, flip: int
) -> tuple[IntArray, bool]:
    """Regions that did not change from the reference to now; are they untouched?

    Where every region has flipped, those that did well before still show what has
    changed since then. Their fall is no evidence: a trouble in them may have ended.
    """
    still = np.flatnonzero(flips >= now)
    if len(still):
        return still, True
    return np.flatnonzero(flips <= flip - panel.hour), False


def _carried(panel: Panel, flips: IntArray, now: int, spreads: Spreads) -> FloatArray:
    """What was already under way in a region when it flipped, (predictors, regions).

    An excess over the others in the last bins, quarter or hour before the flip is
    not the release's; it is taken off what the region shows afterwards.
    """
    done = flips[flips < now]
    key = (-1, int(done.sum()), len(done))
    if key in spreads:
        return spreads[key]
    out = np.zeros((len(PREDICTORS), len(flips)))
    for i in np.flatnonzero(flips < now):
        flip = int(flips[i])
        others = np.flatnonzero((flips >= flip) & (np.arange(len(flips)) != i))
        for size in (1, max(1, panel.hour // 4), panel.hour):
            out[:, i] = np.maximum(
                out[:, i], _excess_before(panel, flips, int(i), others, size, spreads)
            )
    spreads[key] = out
    return out


def _excess_before(
    panel: Panel,
    flips: IntArray,
    region: int,
    others: IntArray,
    size: int,
    spreads: Spreads,
) -> FloatArray:
    flip = int(flips[region])
    out = np.zeros(len(PREDICTORS))
    if not len(others) or flip < size:
        return out
    spread = wander(panel, int(flips.min()), size, size, spreads)
    made = np.array([flip - size])
    for p, moved in enumerate(deviations(panel, made, made, np.array([flip]))):
        value, noise = moved.value[:, 0], moved.variance[:, 0] + spread[p] ** 2
        if not np.isfinite(value[region]) or not np.isfinite(value[others]).any():
            continue
        middle, doubt = robust_mean(value[others], noise[others])
        excess = value[region] - middle
        if excess > UNDER_WAY * math.sqrt(noise[region] + doubt):
            out[p] = excess
    return out


def _rise(mine: FloatArray) -> float:
    """The flipped regions' own rise over their predictions, whatever others did."""
    weight = 1.0 / mine[:, 2]
    return float((weight * mine[:, 4]).sum() / weight.sum())
