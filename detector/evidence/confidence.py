"""How much worse is it? Rate ratio with a confidence sequence.

A confidence sequence may be read after every window without losing its coverage.
It needs one vector of log-likelihoods per displayed series on a fixed grid.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from detector.evidence.rate_ratio import binomial_log_ratios, cell_counts
from detector.evidence.types import BoolArray, FloatArray, log_mean_exp

RATIOS = 49
"""Points of the ratio grid. More: finer limits, more state."""

RATIO_LARGEST = 20.0
"""The grid spans 1/20 .. 20; a limit beyond it is reported as 0 or infinity."""

LOG_RATIO_STEP = 2 * math.log(RATIO_LARGEST) / (RATIOS - 1)
LOG_RATIOS = np.array([(i - RATIOS // 2) * LOG_RATIO_STEP for i in range(RATIOS)])
RATIO_GRID = np.array([math.exp(x) for x in LOG_RATIOS])
RATIO_GAINS = np.array([math.expm1(x) for x in LOG_RATIOS])


def ratio_log_likelihood(
    bad_candidate: ArrayLike,
    bad_control: ArrayLike,
    units_candidate: ArrayLike,
    units_control: ArrayLike,
) -> FloatArray:
    r"""Log-likelihood of each cell at each ratio of the grid, relative to ratio 1.

    :math:`l(r) = k \log r - K \log(1 - \pi + r\pi)`, see
    `detector.evidence.rate_ratio.increments` for the letters. Cells without
    exposure of both arms contribute 0.

    Returns
    -------
    array of shape (cells, RATIOS)
    """
    kt, kc, share = cell_counts(
        bad_candidate, bad_control, units_candidate, units_control, 1.0
    )
    return binomial_log_ratios(kt, kt + kc, share, LOG_RATIOS, RATIO_GAINS)


def ratio_interval(log_likelihood: FloatArray, alpha: float) -> FloatArray:
    r"""Lower limit, best value and upper limit of the ratio, for each row.

    The limits hold the ratios :math:`r` with
    :math:`\log \mathrm{mean}_i \exp l(r_i) - l(r) < \log(1/\alpha)`. The left side
    is the log of a nonnegative martingale when :math:`r` is true, so by Ville's
    inequality the sequence of intervals covers it at all times at once with
    probability 1 - alpha [1]_. Between grid points the limits are conservative:
    :math:`l` is concave in :math:`\log r`, and the lines through the neighbouring
    points bound it from above.

    Parameters
    ----------
    log_likelihood : array of shape (rows, RATIOS)
    alpha : float
        0 < alpha < 1. Smaller: wider.

    Returns
    -------
    array of shape (rows, 3)
        ``[0, nan, inf]`` for a row without any bad unit; a limit beyond the grid
        is 0 or infinity, a best value beyond it the end of the grid.

    References
    ----------
    .. [1] Howard, Ramdas, McAuliffe & Sekhon (2021), Annals of Statistics 49(2),
       1055-1080; Lindon & Malek (2022), NeurIPS, arXiv:2011.03567.

    Examples
    --------
    >>> seen = ratio_log_likelihood([200], [100], [10_000], [10_000])
    >>> ratio_interval(seen, 0.05).round(2)
    array([[1.31, 2.  , 3.09]])
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha} must lie between 0 and 1, for example 0.05")
    level = log_mean_exp(log_likelihood) + math.log(alpha)
    inside = log_likelihood > level[:, None]
    high = _upper_limit(log_likelihood, inside, level)
    low = -_upper_limit(log_likelihood[:, ::-1], inside[:, ::-1], level)
    out = np.exp(np.stack([low, _peak(log_likelihood), high], axis=1))
    out[(log_likelihood == 0).all(axis=1)] = (0.0, np.nan, np.inf)
    return out


def _upper_limit(
    log_likelihood: FloatArray, inside: BoolArray, level: FloatArray
) -> FloatArray:
    """Log of the largest ratio that may still be inside, ``inf`` beyond the grid."""
    rows = np.arange(inside.shape[0])
    last = RATIOS - 1 - np.argmax(inside[:, ::-1], axis=1)
    beyond = last == RATIOS - 1
    near = np.minimum(last + 1, RATIOS - 1)
    limit = (near - RATIOS // 2) * LOG_RATIO_STEP
    for left, right, usable in (
        (np.maximum(last - 1, 0), last, last > 0),
        (near, np.minimum(near + 1, RATIOS - 1), near < RATIOS - 1),
    ):
        fall = log_likelihood[rows, left] - log_likelihood[rows, right]
        falls = usable & (fall > 0)
        steps = (log_likelihood[rows, right] - level) / np.where(falls, fall, 1.0)
        crossing = (right - RATIOS // 2 + steps) * LOG_RATIO_STEP
        limit = np.where(falls, np.minimum(limit, crossing), limit)
    return np.where(beyond, np.inf, limit)


def _peak(log_likelihood: FloatArray) -> FloatArray:
    """Log of the most likely ratio: a parabola through the best three points."""
    rows = np.arange(log_likelihood.shape[0])
    best = np.argmax(log_likelihood, axis=1)
    middle = np.clip(best, 1, RATIOS - 2)
    below = log_likelihood[rows, middle - 1]
    top = log_likelihood[rows, middle]
    above = log_likelihood[rows, middle + 1]
    bend = below - 2 * top + above
    curved = (bend < 0) & (middle == best)
    shift = np.where(curved, (below - above) / np.where(curved, 2 * bend, 1.0), 0.0)
    peak: FloatArray = (best - RATIOS // 2 + shift) * LOG_RATIO_STEP
    return peak
