"""Is the mean of a bounded measure higher for the candidate, beyond a margin?

Scores, shares and other values between 0 and 1 of which a window brings only the
count and the sum. A bet on a coin of the same mean never wins more on average than
on the values themselves, so no spread has to be known: only the bounds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from detector.evidence.rate_ratio import EFFECT_GAINS, Margin
from detector.evidence.types import FloatArray

MEAN_MIN, MEAN_MAX = 1e-4, 0.98
"""Means bet on stay inside: a value at the bound must not cost everything."""


def mean_increments(
    sum_candidate: ArrayLike,
    sum_control: ArrayLike,
    count_candidate: ArrayLike,
    count_control: ArrayLike,
    *,
    guess: ArrayLike,
    margin: Margin,
) -> FloatArray:
    r"""Log evidence of each cell for each effect beyond the margin.

    The bet is the likelihood ratio of coins: with control mean :math:`c` (the guess)
    and candidate mean :math:`p = \rho c` under the alternative, against the nearest
    pair :math:`(q, m q)` at the margin, nearest in Kullback-Leibler divergence with
    the cell's counts. Being the nearest point of a line of null means makes the
    ratio an e-value at every point of that line and below it [1]_; as
    :math:`f^x g^{1-x} \le x f + (1-x) g`, it stays one for values in [0, 1] of
    which only the sum is known [2]_. Sums over windows are logs of nonnegative
    supermartingales as long as ``guess`` comes from earlier windows.

    Assumes that the values of a cell are independent given their means: count each
    reporter once. A cell without values of one arm contributes exactly 0.

    Parameters
    ----------
    sum_candidate, sum_control : array of shape (cells,)
        Sums of values in [0, 1]; 1 is worst.
    count_candidate, count_control : array of shape (cells,)
        Number of values, >= 0.
    guess : array of shape (cells,)
        Control mean expected from earlier windows. Wrong guesses cost power only.
    margin : float or array of shape (cells,)
        Largest ratio of the means that is still no harm, >= 1.

    Returns
    -------
    array of shape (cells, EFFECTS)

    References
    ----------
    .. [1] Grünwald, de Heide & Koolen (2024), JRSS B 86(5), 1091-1128; Turner &
       Grünwald (2023), Statistics & Probability Letters 198, 109835.
    .. [2] Waudby-Smith & Ramdas (2024), JRSS B 86(1), 1-27.

    Examples
    --------
    >>> worse = mean_increments([30], [20], [100], [100], guess=[0.2], margin=1.0)
    >>> worse.max().round(2)
    np.float64(1.34)
    >>> mean_increments([20], [30], [100], [100], guess=[0.2], margin=1.0).max() < 0
    np.True_
    """
    st, sc, nt, nc, mean = (
        np.asarray(x, dtype=np.float64)[:, None]
        for x in (sum_candidate, sum_control, count_candidate, count_control, guess)
    )
    limit = np.broadcast_to(np.asarray(margin, dtype=np.float64), st.shape[:1])[:, None]
    _check(st, sc, nt, nc, limit)
    both = (nt > 0) & (nc > 0)
    highest = MEAN_MAX / limit
    base = np.clip(mean, MEAN_MIN, highest / (1.0 + EFFECT_GAINS[0]))
    worse = np.minimum(base * limit * (1.0 + EFFECT_GAINS), MEAN_MAX)
    weight_t, weight_c = np.where(both, nt, 1.0), np.where(both, nc, 1.0)
    null = _nearest(worse, base, weight_t, weight_c, limit)
    out = (
        st * np.log(worse / (limit * null))
        + (nt - st) * np.log((1.0 - worse) / (1.0 - limit * null))
        + sc * np.log(base / null)
        + (nc - sc) * np.log((1.0 - base) / (1.0 - null))
    )
    return np.where(both, out, 0.0)


def _nearest(
    worse: FloatArray,
    base: FloatArray,
    weight_t: FloatArray,
    weight_c: FloatArray,
    limit: FloatArray,
) -> FloatArray:
    """The null control mean whose pair is nearest to (``worse``, ``base``).

    Root of ``-A/q + m B/(1 - m q) + C/(1 - q)`` in (0, 1/m), with A the expected
    sum of both arms and B, C what is left of the counts.
    """
    a = weight_t * worse + weight_c * base
    b = weight_t * (1.0 - worse)
    c = weight_c * (1.0 - base)
    square = limit * (a + b + c)
    linear = a * (1.0 + limit) + limit * b + c
    root: FloatArray = (
        2.0 * a / (linear + np.sqrt(np.maximum(linear**2 - 4.0 * square * a, 0.0)))
    )
    return root


def _check(
    st: FloatArray, sc: FloatArray, nt: FloatArray, nc: FloatArray, limit: FloatArray
) -> None:
    """Refuse sums outside what values in [0, 1] can have, and margins below 1."""
    for name, total, count in (("candidate", st, nt), ("control", sc, nc)):
        wrong = ~((total >= 0) & (total <= count) & np.isfinite(count))
        if wrong.any():
            cell = int(np.argmax(wrong))
            raise ValueError(
                f"sum_{name}[{cell}] is {total[cell, 0]} of {count[cell, 0]} values: "
                "values lie between 0 and 1"
            )
    if not ((limit >= 1) & np.isfinite(limit)).all():
        raise ValueError("margin must be a finite ratio >= 1, for example 1.25")
