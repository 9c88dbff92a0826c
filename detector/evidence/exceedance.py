"""Does the candidate exceed a threshold more often than the control, beyond a margin?

A duration, or any continuous measure, is compared by counts: how many records of each
arm lie above a threshold that the control's earlier windows chose. Above the median
that is no rare event, so the total is not binomial; the procedure here is exact for
every base rate. Pure functions on arrays, of the same shape as the rate-ratio test.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from detector.evidence.rate_ratio import Margin, increments
from detector.evidence.types import FloatArray, IntArray

QUANTILES = (0.5, 0.75, 0.9, 0.97, 0.99)
"""Quantiles of the control that are watched, about evenly spaced in log odds."""

PRIOR_SPREAD = 0.1
"""Log-sd of what one arm's windows do on their own. Larger: slower, safer."""

PRIOR_PAIRS = 20.0
"""Pairs of windows the prior spread counts for. Larger: learns later."""

_OUTLIER = 9.0
"""A squared step counts at most this many variances: an onset is no noise."""


def odds_increments(
    above_candidate: ArrayLike,
    above_control: ArrayLike,
    units_candidate: ArrayLike,
    units_control: ArrayLike,
    *,
    margin: Margin,
    spread: ArrayLike = 0.0,
) -> FloatArray:
    r"""Log evidence of each cell that the odds of exceeding are beyond the margin.

    Given the total :math:`K` above the threshold, the candidate's part :math:`k` is
    noncentral hypergeometric with the odds ratio :math:`\psi`. Its generating
    polynomial has only real roots, so :math:`k` is a sum of at most
    :math:`N = \min(n_T, K) - \max(0, K - n_C)` independent Bernoulli variables
    beside a constant [1]_; by Jensen
    :math:`E r^{k} \le r^{k_{\min}} (1 + q (r - 1))^N` with
    :math:`q = (E k - k_{\min}) / N`. Hence, for :math:`r_j = \exp` of the effects,
    :math:`(k - k_{\min}) \log r_j - N \log(1 + q (r_j - 1))` has a mean of ``exp``
    of at most 1 for every :math:`\psi` up to the margin and every base rate. For
    rare events it is the rate-ratio test.

    With ``spread`` the result is multiplied by ``1 / (1 + spread**2 V)``, V the
    variance of :math:`k` without a difference. A power below 1 of an e-value is one
    (Jensen), so nothing is lost of the guarantee; what is gained is that a window of
    a million requests says no more than noise private to an arm lets it say.

    Parameters
    ----------
    above_candidate, above_control : array of shape (cells,)
        Records above the threshold.
    units_candidate, units_control : array of shape (cells,)
        All records, those above included.
    margin : float or array of shape (cells,)
        Largest odds ratio that is still no harm.
    spread : float or array of shape (cells,), default=0
        Log-sd of the odds between windows of one arm, known before the window.

    Returns
    -------
    array of shape (cells, EFFECTS)

    Raises
    ------
    ValueError
        Counts that are no counts: negative, or more above than there are.

    References
    ----------
    .. [1] Vatutin & Mikhailov (1982), Theory Prob. Appl. 27, 734-743.
    """
    cells = effective_cells(
        above_candidate,
        above_control,
        units_candidate,
        units_control,
        margin=margin,
        spread=spread,
    )
    return increments(*cells, margin=margin)


class Effective(NamedTuple):
    """Counts that say in the rate-ratio test what odds say here; arrays (cells,)."""

    bad_candidate: FloatArray
    bad_control: FloatArray
    units_candidate: FloatArray
    units_control: FloatArray


def effective_cells(
    above_candidate: ArrayLike,
    above_control: ArrayLike,
    units_candidate: ArrayLike,
    units_control: ArrayLike,
    *,
    margin: Margin,
    spread: ArrayLike = 0.0,
) -> Effective:
    """What to hand to the rate-ratio test so that it gives `odds_increments`.

    Parameters as there. The totals become N, the candidate's share of the exposure
    at the margin becomes q, both scaled by the tempering; the sum of the exposures
    is the number of records times the tempering. A cell without records of one arm,
    or whose total leaves no choice, is all zero.
    """
    kt, kc, nt, nc = checked_cells(
        above_candidate, above_control, units_candidate, units_control
    )
    odds = np.broadcast_to(np.asarray(margin, dtype=np.float64), kt.shape)
    if not ((odds > 0) & np.isfinite(odds)).all():
        raise ValueError(f"margin {margin} is not a ratio: it must be finite and > 0")
    total = kt + kc
    least = np.maximum(0.0, total - nc)
    trials = np.minimum(nt, total) - least
    open_ = trials > 0
    mean = largest_mean(total, nt, nc, odds)
    share = np.clip((mean - least) / np.where(open_, trials, 1.0), 0.0, 1.0)
    open_ &= share < 1.0
    kept = np.where(open_, temper(total, nt, nc, spread), 0.0)
    own, other = share / odds, 1.0 - share
    scale = kept * (nt + nc) / (own + other)
    return Effective(
        kept * (kt - least),
        kept * (trials - (kt - least)),
        scale * own,
        scale * other,
    )


def largest_mean(
    total: FloatArray, nt: FloatArray, nc: FloatArray, odds: FloatArray
) -> FloatArray:
    r"""Upper bound of the candidate's expected part of the total at an odds ratio.

    The exact mean :math:`\mu` and variance V obey :math:`\mu (n_C - K + \mu) + V =
    \psi ((n_T - \mu)(K - \mu) + V)` (Cornfield 1956); V is at most a quarter of the
    number of Bernoulli variables. The root is exact for an odds ratio of 1.
    """
    trials = np.minimum(nt, total) - np.maximum(0.0, total - nc)
    constant = odds * nt * total + np.maximum(odds - 1.0, 0.0) * trials / 4.0
    linear = nc - total + odds * (nt + total)
    inner = np.maximum(linear**2 - 4.0 * (odds - 1.0) * constant, 0.0)
    below = linear + np.sqrt(inner)
    root: FloatArray = 2.0 * constant / np.where(below > 0, below, 1.0)
    return root


def temper(
    total: FloatArray, nt: FloatArray, nc: FloatArray, spread: ArrayLike
) -> FloatArray:
    """Share of a cell's log evidence that noise private to an arm leaves, in (0, 1].

    Depends on the total and the exposures only, which the test takes as given.
    """
    known: FloatArray = 1.0 / (
        1.0 + np.square(np.asarray(spread, dtype=np.float64)) * variance(total, nt, nc)
    )
    return known


def variance(total: FloatArray, nt: FloatArray, nc: FloatArray) -> FloatArray:
    """Variance of the candidate's part of the total when there is no difference."""
    units = nt + nc
    scale = np.where(units > 1, units * units * (units - 1.0), 1.0)
    found: FloatArray = total * (units - total) * nt * nc / scale
    return np.maximum(found, 0.0)


def log_odds_ratio(
    kt: ArrayLike, kc: ArrayLike, nt: ArrayLike, nc: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Log odds ratio of each cell and its sampling variance, halves added (Haldane)."""
    a, c = np.asarray(kt, dtype=np.float64) + 0.5, np.asarray(kc) + 0.5
    b, d = np.asarray(nt) - np.asarray(kt) + 0.5, np.asarray(nc) - np.asarray(kc) + 0.5
    return np.log(a * d / (b * c)), 1.0 / a + 1.0 / b + 1.0 / c + 1.0 / d


def nearest_edges(
    above: ArrayLike, units: ArrayLike, quantiles: tuple[float, ...] = QUANTILES
) -> IntArray:
    """Which edges lie nearest to each quantile, by the log odds of exceeding them.

    Distance in log odds and not in probability: for the .99 quantile .98 is nearer
    than .9999. Edges that nothing or everything exceeds are not eligible.

    Parameters
    ----------
    above, units : array of shape (edges,)
        Records above each edge, and records for which that is known.

    Returns
    -------
    array of shape (quantiles,)
        Positions; empty if no edge is eligible.
    """
    k, n = np.asarray(above, dtype=np.float64), np.asarray(units, dtype=np.float64)
    inside = np.flatnonzero((k > 0) & (k < n))
    if not inside.size:
        return np.zeros(0, dtype=np.int64)
    seen = np.log(k[inside] / (n[inside] - k[inside]))
    wanted = np.array([math.log((1.0 - q) / q) for q in quantiles])
    nearest = np.argmin(np.abs(seen[None, :] - wanted[:, None]), axis=1)
    found: IntArray = inside[nearest].astype(np.int64)
    return found


def spread_step(
    before: tuple[float, float], now: tuple[float, float], spread: float
) -> tuple[float, float]:
    """What two neighbouring windows say about the spread: (weight, weighted square).

    ``before`` and ``now`` are log odds ratio and sampling variance. A lasting
    difference between the arms cancels in the step from one window to the next.
    """
    sampling = before[1] + now[1]
    expected = sampling + 2.0 * spread**2
    square = min((now[0] - before[0]) ** 2, _OUTLIER * expected)
    weight = (2.0 * PRIOR_SPREAD**2 / (sampling + 2.0 * PRIOR_SPREAD**2)) ** 2
    return weight, weight * (square - sampling) / 2.0


def spread_of(weight: float, square: float) -> float:
    """Log-sd of one window's odds ratio beside sampling, from summed steps.

    Shrunk to `PRIOR_SPREAD`, and never below half of it.
    """
    mean = (PRIOR_PAIRS * PRIOR_SPREAD**2 + square) / (PRIOR_PAIRS + weight)
    return math.sqrt(max(mean, PRIOR_SPREAD**2 / 4.0))


def checked_cells(*named: ArrayLike) -> tuple[FloatArray, ...]:
    """Four count vectors; cells that can not be compared are emptied."""
    kt, kc, nt, nc = (np.asarray(values, dtype=np.float64) for values in named)
    for k, n in ((kt, nt), (kc, nc)):
        if k.shape != kt.shape or n.shape != kt.shape or k.ndim != 1:
            raise ValueError(f"shapes {k.shape} and {n.shape}: pass equal vectors")
        if not (np.isfinite(n).all() and (k >= 0).all() and (k <= n).all()):
            raise ValueError("counts are finite, >= 0, and none above exceeds its all")
    both = (nt > 0) & (nc > 0)
    return tuple(np.where(both, values, 0.0) for values in (kt, kc, nt, nc))
