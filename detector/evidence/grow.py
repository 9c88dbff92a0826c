"""Do fewer units succeed in the candidate than in the control? For common outcomes.

Where success is the rule (a step of a funnel, a login, a play start) the test of two
binomial shares bets on both arms' shares themselves. Exact for every true share of
the control and any change of it over time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from detector.evidence.exceedance import checked_cells
from detector.evidence.rate_ratio import EFFECTS
from detector.evidence.types import FloatArray

DROP_SMALLEST, DROP_LARGEST = 0.01, 1.5
"""Range of log drops beyond the margin that are bet on."""

LOG_DROPS = -np.geomspace(DROP_SMALLEST, DROP_LARGEST, EFFECTS)

_INSIDE = 1e-6
"""Shares stay this far from 0 and 1: a bet on certainty could be lost for ever."""


def grow_increments(
    successes_candidate: ArrayLike,
    successes_control: ArrayLike,
    units_candidate: ArrayLike,
    units_control: ArrayLike,
    *,
    expected_share: ArrayLike,
    margin: float = 1.0,
) -> FloatArray:
    r"""Log evidence of each cell that the share of successes dropped, for each drop.

    The alternative is :math:`(a_T, a_C) = (m r_j p, p)` with ``expected_share`` p;
    the null :math:`p_T \ge m p_C` is convex, and the likelihood ratio against its
    point nearest in Kullback-Leibler divergence has mean at most 1 for every pair
    of true shares in the null [1]_. That point solves a quadratic; for a margin of
    1 it is the pooled share. A wrong ``expected_share`` costs power only.

    Parameters
    ----------
    successes_candidate, successes_control : array of shape (cells,)
        Units that succeeded.
    units_candidate, units_control : array of shape (cells,)
        Units that tried. A cell without units of one arm contributes 0.
    expected_share : float or array of shape (cells,)
        Guess of the control's share from earlier windows, never from this one.
    margin : float, default=1
        Smallest ratio of the shares that is still no harm, in (0, 1].

    Returns
    -------
    array of shape (cells, EFFECTS)

    References
    ----------
    .. [1] Turner, Ly & Grünwald (2024), Journal of Statistical Planning and
       Inference 230, 106116.
    """
    if not 0.0 < margin <= 1.0:
        raise ValueError(f"margin {margin} is no ratio in (0, 1]")
    kt, kc, nt, nc = (
        values[:, None]
        for values in checked_cells(
            successes_candidate, successes_control, units_candidate, units_control
        )
    )
    guess = np.broadcast_to(np.asarray(expected_share, dtype=np.float64), kt.shape[:1])
    control = np.clip(guess, _INSIDE, 1.0 - _INSIDE)[:, None]
    candidate = np.clip(margin * np.exp(LOG_DROPS) * control, _INSIDE, 1.0 - _INSIDE)
    null = nearest_null(candidate, control, nt, nc, margin)
    found: FloatArray = _log_ratio(kt, nt, candidate, margin * null)
    return found + _log_ratio(kc, nc, control, null)


def nearest_null(
    candidate: FloatArray,
    control: FloatArray,
    nt: FloatArray,
    nc: FloatArray,
    margin: float,
) -> FloatArray:
    """The control's share p such that (margin p, p) is nearest to the alternative.

    Nearest in the divergence weighted with the cell's units.
    """
    tried = nt + nc
    nt, nc = np.where(tried > 0, nt, 1.0), np.where(tried > 0, nc, 1.0)
    good = nt * candidate + nc * control
    first, second = nt * margin * (1.0 - candidate), nc * (1.0 - control)
    square = good * margin + first + margin * second
    linear = good * (1.0 + margin) + first + second
    inner = np.maximum(linear**2 - 4.0 * square * good, 0.0)
    root: FloatArray = 2.0 * good / (linear + np.sqrt(inner))
    return root


def _log_ratio(
    k: FloatArray, n: FloatArray, share: FloatArray, null: FloatArray
) -> FloatArray:
    """Log likelihood ratio of ``k`` of ``n`` between two shares."""
    ratio: FloatArray = k * np.log(share / null)
    return ratio + (n - k) * np.log((1.0 - share) / (1.0 - null))
