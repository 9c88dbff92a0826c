"""Is the candidate's rate of bad units higher than the control's, beyond a margin?

The time-stratified conditional rate-ratio test. In each cell (one window of one
stratum) the total number of bad units is taken as given; the question is which
release they came from, given how the exposure was split in that very cell. What
both releases share (daily cycle, ramp, outage) cancels. Pure functions on arrays;
the wealth they feed lives in ``detector.evidence.rows``.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from detector.evidence.types import BoolArray, FloatArray, IntArray

EFFECTS = 12
"""Number of effect sizes bet on. More: finer fit, more state, a thinner bet each."""

EFFECT_SMALLEST, EFFECT_LARGEST = 1.08, 20.0
"""Range of effects beyond the margin. Nearer to 1 finds small harm, slowly."""

RECOVERY_RATIOS = (1.0, 0.8)
"""Ratios bet on when asking whether a release is no longer beyond its margin."""

_CHUNK = 4096
"""Cells per step: the temporaries stay in the processor's cache."""

Margin: TypeAlias = float | FloatArray


def _log_effects() -> FloatArray:
    """Logs of the effects, a geometric sequence: small effects lie closer."""
    low, high = math.log(EFFECT_SMALLEST), math.log(EFFECT_LARGEST)
    step = (high / low) ** (1 / (EFFECTS - 1))
    return np.array([low * step**j for j in range(EFFECTS)])


LOG_EFFECTS = _log_effects()
EFFECT_GAINS = np.array([math.expm1(x) for x in LOG_EFFECTS])


def effect_grid(margin: float) -> FloatArray:
    """Which rate ratios are bet on, given the margin they lie beyond.

    Examples
    --------
    >>> effect_grid(1.25).round(2)
    array([ 1.35,  1.39,  1.45,  1.54,  1.67,  1.88,  2.2 ,  2.76,  3.77,
            5.83, 10.7 , 25.  ])
    """
    _check_margin(np.asarray(margin, dtype=np.float64))
    return margin * np.exp(LOG_EFFECTS)


def comparable(units_candidate: ArrayLike, units_control: ArrayLike) -> BoolArray:
    """Which cells hold exposure of both arms and so can say anything at all."""
    return (np.asarray(units_candidate) > 0) & (np.asarray(units_control) > 0)


def increments(
    bad_candidate: ArrayLike,
    bad_control: ArrayLike,
    units_candidate: ArrayLike,
    units_control: ArrayLike,
    *,
    margin: Margin,
) -> FloatArray:
    r"""Log evidence of each cell for each effect beyond the margin.

    With :math:`K` bad units in the cell, :math:`k` of them the candidate's,
    :math:`\pi` the candidate's share of the exposure and
    :math:`d(r) = 1 - \pi + r\pi`:
    :math:`k \log(\rho_j/\rho_0) - K \log(d(\rho_j)/d(\rho_0))`.
    Given :math:`K`, :math:`k` is binomial with success probability
    :math:`\rho\pi/d(\rho)` [1]_; the mean of ``exp`` of the result is at most 1
    for every true ratio up to the margin :math:`\rho_0`, so sums over cells and
    windows are logs of nonnegative supermartingales [2]_.

    Assumes bad units come one by one: count each session once per signal and
    window. With clustered events use `robust_increments`.

    A cell without exposure of one arm contributes exactly 0. Nothing can be
    compared there, and letting :math:`\pi` reach 0 or 1 would turn a lost usage
    stream into overwhelming evidence.

    Parameters
    ----------
    bad_candidate, bad_control : array of shape (cells,)
        Bad units, >= 0. Fractions are allowed but weights are not information:
        for sampled data pass what was seen and scale the exposure instead.
    units_candidate, units_control : array of shape (cells,)
        Units at risk, >= 0, the bad ones included.
    margin : float or array of shape (cells,)
        Largest ratio that is still no harm. Larger: fewer and later findings.

    Returns
    -------
    array of shape (cells, EFFECTS)

    References
    ----------
    .. [1] Przyborowski & Wilenski (1940), Biometrika 31, 313-323.
    .. [2] Lindon & Malek (2022), NeurIPS, arXiv:2011.03567; Ramdas et al. (2023),
       Statistical Science 38(4), 576-601.

    Examples
    --------
    Of 30 bad units 20 are the candidate's, at equal exposure:

    >>> increments([20], [10], [1000], [1000], margin=1.0).max().round(2)
    np.float64(1.67)
    >>> increments([10], [20], [1000], [1000], margin=1.0).max() < 0
    np.True_
    """
    kt, kc, share = cell_counts(
        bad_candidate, bad_control, units_candidate, units_control, margin
    )
    return binomial_log_ratios(kt, kt + kc, share, LOG_EFFECTS, EFFECT_GAINS)


def robust_increments(
    bad_candidate: ArrayLike,
    bad_control: ArrayLike,
    units_candidate: ArrayLike,
    units_control: ArrayLike,
    *,
    margin: Margin,
) -> FloatArray:
    r"""Log evidence of each cell when its bad events cluster, for each effect.

    The average instead of the product of the events' likelihood ratios:
    :math:`\log(1 + (k/K) g_j) - \log(1 + q g_j)`, :math:`g_j = \rho_j/\rho_0 - 1`
    and :math:`q` the candidate's share of bad events at the margin. Needs only
    that the expected share :math:`k/K` is at most :math:`q`: events may come in
    any clusters inside a cell, not across windows. Slower than `increments`,
    which is preferable wherever a session identity allows counting once.

    Splitting the cell by a hash of the user (eight parts, say) and passing the
    parts as cells wins power back, since users are independent. Shapes and
    parameters as in `increments`.
    """
    kt, kc, share = cell_counts(
        bad_candidate, bad_control, units_candidate, units_control, margin
    )
    total = kt + kc
    active = np.flatnonzero(total)
    out = np.zeros((total.size, EFFECTS))
    seen = (kt[active] / total[active])[:, None]
    out[active] = np.log1p(seen * EFFECT_GAINS) - np.log1p(
        share[active, None] * EFFECT_GAINS
    )
    return out


def recovery_increments(
    bad_candidate: ArrayLike,
    bad_control: ArrayLike,
    units_candidate: ArrayLike,
    units_control: ArrayLike,
    *,
    margin: Margin,
) -> FloatArray:
    """Log evidence of each cell that the ratio is back below the margin.

    The same test turned round: null "ratio >= margin", against each of
    `RECOVERY_RATIOS` (a margin below one of them makes that column 0).
    Shapes and parameters as in `increments`, two columns.
    """
    kt, kc, share = cell_counts(
        bad_candidate, bad_control, units_candidate, units_control, margin
    )
    limit = np.asarray(margin, dtype=np.float64)[..., None]
    ratio = np.minimum(np.array(RECOVERY_RATIOS) / limit, 1.0)
    cost = (kt + kc)[:, None] * np.log1p(share[:, None] * (ratio - 1.0))
    return kt[:, None] * np.log(ratio) - cost


def excess_bad(
    bad_candidate: ArrayLike,
    bad_control: ArrayLike,
    units_candidate: ArrayLike,
    units_control: ArrayLike,
) -> FloatArray:
    """How many bad units of each cell exceed what the control's rate predicts.

    Negative where the candidate is better, 0 where the arms can not be compared.
    """
    kt, kc, nt, nc = _counts(bad_candidate, bad_control, units_candidate, units_control)
    both = comparable(nt, nc)
    expected = nt * kc / np.where(both, nc, 1.0)
    return np.where(both, kt - expected, 0.0)


def adding(cell_of: IntArray, row_of: IntArray, shape: tuple[int, int]) -> csr_array:
    """The matrix of shape (rows, cells) that adds up the cells of each row.

    Strata never mix: their log evidence is summed, not their counts. A row's cells
    are added in the order of the entries: pass them in a canonical one (sorted by
    stratum), then the last bit is reproducible too.

    Parameters
    ----------
    cell_of, row_of : array of shape (entries,)
        A cell and a row that it counts for; neither cells nor rows need to be sorted.

    Examples
    --------
    >>> cells = np.array([[1.0, 10.0], [2.0, 20.0]])
    >>> both, first = np.array([0, 1, 0]), np.array([0, 0, 1])
    >>> (adding(both, first, (2, 2)) @ cells).tolist()
    [[3.0, 30.0], [1.0, 10.0]]
    """
    order = np.argsort(row_of, kind="stable")
    starts = np.zeros(shape[0] + 1, np.int64)
    np.cumsum(np.bincount(row_of, minlength=shape[0]), out=starts[1:])
    return csr_array((np.ones(order.size), cell_of[order], starts), shape=shape)


def cell_counts(
    bad_candidate: ArrayLike,
    bad_control: ArrayLike,
    units_candidate: ArrayLike,
    units_control: ArrayLike,
    margin: Margin,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Bad units of comparable cells (else 0) and the share at the margin.

    The margin enters only here: with ``q`` the candidate's share of bad units when
    the ratio equals the margin, ``d(rho_j)/d(rho_0) = 1 + q (rho_j/rho_0 - 1)``.
    """
    kt, kc, nt, nc = _counts(bad_candidate, bad_control, units_candidate, units_control)
    limit = np.asarray(margin, dtype=np.float64)
    _check_margin(limit)
    both = comparable(nt, nc)
    weight = limit * nt
    share = np.where(both, weight / np.where(both, weight + nc, 1.0), 0.0)
    return np.where(both, kt, 0.0), np.where(both, kc, 0.0), share


def binomial_log_ratios(
    kt: FloatArray,
    total: FloatArray,
    share: FloatArray,
    log_ratios: FloatArray,
    gains: FloatArray,
) -> FloatArray:
    """``kt * log_ratio - total * log(1 + share * gain)`` for every cell and ratio.

    Cells without a bad unit are exactly 0 and cost nothing. ``log(1 + x)`` and not
    ``log1p``: half the time for an error below 1e-15 a bad unit.
    """
    active = np.flatnonzero(total)
    if active.size < total.size:
        out = np.zeros((total.size, gains.size))
        out[active] = binomial_log_ratios(
            kt[active], total[active], share[active], log_ratios, gains
        )
        return out
    out = np.empty((total.size, gains.size))
    for low in range(0, total.size, _CHUNK):
        part = slice(low, low + _CHUNK)
        cost = share[part, None] * gains
        cost += 1.0
        np.log(cost, out=cost)
        cost *= total[part, None]
        np.subtract(kt[part, None] * log_ratios, cost, out=out[part])
    return out


def _counts(*named: ArrayLike) -> tuple[FloatArray, ...]:
    """The four count arrays as equal-length vectors, checked."""
    names = ("bad_candidate", "bad_control", "units_candidate", "units_control")
    arrays = tuple(np.asarray(values, dtype=np.float64) for values in named)
    for name, array in zip(names, arrays, strict=True):
        if array.shape != arrays[0].shape or array.ndim != 1:
            raise ValueError(
                f"{name} has shape {array.shape}, expected one number a cell like "
                f"{names[0]} {arrays[0].shape}: pass four vectors of equal length"
            )
        wrong = ~((array >= 0) & np.isfinite(array))
        if wrong.any():
            cell = int(np.argmax(wrong))
            raise ValueError(
                f"{name}[{cell}] is {array[cell]}: counts are finite and >= 0"
            )
    return arrays


def _check_margin(margin: FloatArray) -> None:
    """Refuse margins that are no ratio."""
    if not ((margin > 0) & np.isfinite(margin)).all():
        raise ValueError(
            f"margin {margin} is not a ratio: it must be finite and > 0, "
            "for example 1.25"
        )
