"""One e-value for a release from the e-values of its series.

A weighted mean of e-values is an e-value under any dependence between them
(Wang & Ramdas 2022, "False discovery rate control with e-values", section 2),
so one threshold 1/alpha holds for the release whatever its segments share.
"""

from __future__ import annotations

from math import exp, fsum, log

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def release_log_e(log_e: Floats, weights: Floats) -> float:
    """Log of the weighted mean of e-values, current values, not maxima.

    Parameters
    ----------
    log_e, weights : arrays of shape (n_series,)
        Natural logs of the series' e-values; weights fixed before their data,
        summing to at most 1. Weight that no series uses counts as e = 1.

    Examples
    --------
    >>> round(release_log_e(np.array([np.log(900.0)]), np.array([0.5])), 3)
    6.11
    """
    # A dozen numbers, after every window of every release: floats are ten times
    # faster here than arrays.
    terms = list(zip(weights.tolist(), log_e.tolist(), strict=True))
    spare = 1.0 - fsum(weight for weight, _ in terms)
    if spare > 0.0:
        terms.append((spare, 0.0))
    top: float = max(e for _, e in terms)
    return top + log(fsum(weight * exp(e - top) for weight, e in terms))


def release_log_es(log_e: Floats, weights: Floats) -> Floats:
    """`release_log_e` of many releases that have the same series.

    Parameters
    ----------
    log_e : array of shape (releases, n_series)
    weights : array of shape (n_series,)
        Positive, summing to at most 1.
    """
    spare = max(0.0, 1.0 - fsum(weights.tolist()))
    bets = log_e + np.log(weights)
    if spare > 0.0:
        bets = np.column_stack((bets, np.full(len(bets), log(spare))))
    total: Floats = np.logaddexp.reduce(bets, axis=1)
    return total


def flagged(log_e: Floats, alpha: float) -> NDArray[np.bool_]:
    """Which series are found at false discovery rate alpha (the e-BH procedure).

    The k largest e-values, for the largest k whose k-th is at least ``n / (alpha k)``;
    valid under any dependence between the series (Wang & Ramdas 2022, section 4).
    Display: the release is judged by ``release_log_e``.

    Parameters
    ----------
    log_e : array of shape (n_series,)
        Natural logs of the series' e-values.

    Examples
    --------
    >>> flagged(np.log([1e5, 3e3, 20.0, 0.5]), alpha=0.01)
    array([ True,  True, False, False])
    """
    size = log_e.size
    order = np.argsort(-log_e, kind="stable")
    needed = log(size / alpha) - np.log(np.arange(1, size + 1))
    enough = np.flatnonzero(log_e[order] >= needed)
    found = np.zeros(size, np.bool_)
    if enough.size:
        found[order[: enough[-1] + 1]] = True
    return found
