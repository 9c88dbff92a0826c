"""Did the split of units between the arms come out as planned?

A split that is off beyond chance (sample ratio mismatch) says that assignment or
telemetry is broken, in either direction; it blames nobody.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaln

from detector.evidence.types import FloatArray

CONCENTRATION = 1000.0
"""Weight in units of the alternative: splits a few percent off are found soonest."""

WIDE_CONCENTRATION = 20.0
"""The same where the plan itself is kept only roughly."""

LOG_THRESHOLD = math.log(1000.0)
"""Evidence at which a split counts as off (level 0.001)."""


def log_evidence(
    units_candidate: ArrayLike,
    units_total: ArrayLike,
    share: float,
    *,
    spread: float = 0.0,
) -> FloatArray:
    r"""Log evidence that the candidate's share of the units is not ``share``.

    Beta-binomial mixture against the planned share (statistics 3.8; Lindon & Malek,
    NeurIPS 2022): :math:`B(a + S, b + N - S) / B(a, b)` over the probability of the
    same counts under the plan, with a = c share, b = c (1 - share): the prior must
    have the plan's own mean, or it finds nothing off an even split.

    Parameters
    ----------
    units_candidate, units_total : array of shape (n,) or float
        Units so far, each counted once: users or sessions, not their requests.
    share : float
        Planned share of the candidate, strictly between 0 and 1.
    spread : float
        Standard deviation of the log odds with which the plan is kept. With 0 the
        plan is exact and the result is an e-process: it may be looked at after
        every unit. Above 0 the null is itself a beta-binomial of that spread, and
        the evidence saturates where the spread explains what is seen.

    Returns
    -------
    array of shape (n,)

    Raises
    ------
    ValueError
        If the share plans nothing, or counts are negative or exceed their total.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"a planned share lies between 0 and 1, not {share}")
    got = np.atleast_1d(np.asarray(units_candidate, dtype=np.float64))
    rest = np.asarray(units_total, dtype=np.float64) - got
    if not (np.isfinite(got).all() and np.isfinite(rest).all()):
        raise ValueError("counts must be finite")
    if (got < 0).any() or (rest < 0).any():
        raise ValueError("counts must not be negative nor exceed their total")
    if spread <= 0.0:
        plan = got * math.log(share) + rest * math.log1p(-share)
        return _mixture(got, rest, share, CONCENTRATION) - plan
    kept = 1.0 / (spread * spread * share * (1.0 - share))
    wide = min(WIDE_CONCENTRATION, kept / WIDE_CONCENTRATION)
    return _mixture(got, rest, share, wide) - _mixture(got, rest, share, kept)


def _mixture(
    got: FloatArray, rest: FloatArray, share: float, weight: float
) -> FloatArray:
    a, b = weight * share, weight * (1.0 - share)
    found: FloatArray = betaln(a + got, b + rest) - betaln(a, b)
    return found
