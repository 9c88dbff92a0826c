"""Is a failure signature new, or a renamed one, or the doing of a few odd clients?

Four questions about one signature of one release, all on totals: is its rate higher
than all older exposure allows; is it more than the signatures that vanished; do its
hits grow with the exposure; and do they come from users who would be there anyway.
Measured, not proven: hits cluster in users, and what a bot looks like is an
assumption (statistics-controls 6). Pure functions on arrays.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from detector.evidence.types import FloatArray

CLUSTER_HITS = 2.0
"""Hits that stand for one independent user: log evidence is divided by it."""

PRIOR_HITS = 0.5
"""Shape of the prior of a rate; its mean is a guess from the service's own rate."""

SHARE_SPREAD = 0.15
"""Spread of a stratum's share between two releases whose traffic is split evenly."""

DOUBT_SD = 2.0
"""How many standard deviations a renamed signature may exceed what vanished: both
the old count and the new one are chance, each about as much."""

LACK_SD = 1.0
"""How far below its prediction a signature must be to lack something. Larger: a
rename of a part is taken for a new failure more often."""

RENAMED_SD = 2.0
"""From here on it is no chance: heirs may also take what chance may have added."""

CLUMP = 0.1
"""Prior weight of a stratum when few clients, not all users, are hit."""

NAT_LIMIT = 20.0
"""No single question outweighs the others by more than this."""


def new_rate_log_e(
    hits_new: ArrayLike,
    exposure_new: ArrayLike,
    hits_old: ArrayLike,
    exposure_old: ArrayLike,
    *,
    usual_rate: float,
) -> FloatArray:
    r"""Log evidence that a signature's rate is higher than all older exposure shows.

    The likelihood of both counts under rates drawn from gamma priors, over the
    largest likelihood under one common rate [1]_; divided by `CLUSTER_HITS`, since
    the hits of one user come together. The priors are centred on a tenth of
    ``usual_rate`` for the new release and a thousandth for the old ones: a
    signature that the old ones hardly have. Wrong guesses cost power only.

    With few old hits this grows like half of :math:`-k \log\pi`, :math:`\pi` the new
    release's share of all exposure (statistics-controls 6).

    Parameters
    ----------
    hits_new, hits_old : array of shape (signatures,)
        Units hit in the new release and in all older ones, >= 0.
    exposure_new, exposure_old : array of shape (signatures,)
        Units at risk, >= 0. Without exposure of either the result is 0.
    usual_rate : float
        Failed units per unit at risk of the service, over everything, > 0.

    Returns
    -------
    array of shape (signatures,), >= 0

    References
    ----------
    .. [1] Wasserman, Ramdas & Balakrishnan (2020), PNAS 117(29), 16880-16890.

    Examples
    --------
    >>> new_rate_log_e([40], [1000], [0], [1000], usual_rate=0.1).round(1)
    array([12.3])
    >>> new_rate_log_e([40], [1000], [36], [1000], usual_rate=0.1)
    array([0.])
    """
    k1, n1, k0, n0 = (
        np.asarray(x, dtype=np.float64)
        for x in (hits_new, exposure_new, hits_old, exposure_old)
    )
    if usual_rate <= 0:
        raise ValueError(f"usual_rate is {usual_rate}: a rate at risk is > 0")
    both = (n1 > 0) & (n0 > 0)
    safe1, safe0 = np.where(both, n1, 1.0), np.where(both, n0, 1.0)
    free = _gamma_log_mean(k1, safe1, usual_rate / 10) + _gamma_log_mean(
        k0, safe0, usual_rate / 1000
    )
    total = k1 + k0
    common = total / (safe1 + safe0)
    with np.errstate(divide="ignore", invalid="ignore"):
        null = np.where(total > 0, total * np.log(common), 0.0) - total
    higher = both & (k1 * safe0 > k0 * safe1)
    return np.where(higher, np.maximum(free - null, 0.0) / CLUSTER_HITS, 0.0)


def _gamma_log_mean(hits: FloatArray, exposure: FloatArray, rate: float) -> FloatArray:
    """Log of the mean Poisson likelihood over a gamma prior of mean ``rate``."""
    scale = PRIOR_HITS / rate
    return (
        _log_gamma(PRIOR_HITS + hits)
        - math.lgamma(PRIOR_HITS)
        + PRIOR_HITS * math.log(scale)
        - (PRIOR_HITS + hits) * np.log(scale + exposure)
    )


def _log_gamma(values: FloatArray) -> FloatArray:
    flat = [math.lgamma(x) for x in values.ravel().tolist()]
    return np.array(flat, dtype=np.float64).reshape(values.shape)


def added_hits(
    own: ArrayLike,
    expected: ArrayLike,
    fresh: ArrayLike,
    likeness: ArrayLike | None = None,
    *,
    vanished_below: float = 0.4,
) -> FloatArray:
    """How many hits of each new signature no vanished signature accounts for.

    A signature has vanished if the new release shows less than ``vanished_below``
    of what the control's rate predicts, and lacks something if it shows less than
    chance explains (`LACK_SD`): a rename may take only a part of it. What is missing
    is given to the new
    signatures, the largest gap first: to the one with the likest name, among
    equally like names to the one nearest in size, which may also take what chance
    may have added (`DOUBT_SD`); what is left over goes on to the next. A renamed
    signature is left with nothing, one that adds to the total keeps its hits
    (statistics-controls 6).

    Parameters
    ----------
    own, expected : array of shape (signatures,)
        Units hit in the release, and what the control's rates predict for it.
    fresh : array of bool, shape (signatures,)
        Which signatures are new.
    likeness : array of shape (signatures, signatures), optional
        How much two names resemble each other, 0 to 1.

    Returns
    -------
    array of shape (signatures,)
        0 for signatures that are not new.

    Examples
    --------
    >>> added_hits([0, 104, 30], [100, 0, 0], [False, True, True])
    array([ 0.,  0., 30.])
    """
    seen = np.asarray(own, dtype=np.float64)
    due = np.asarray(expected, dtype=np.float64)
    is_new = np.asarray(fresh, dtype=np.bool_)
    near = (
        np.zeros((seen.size, seen.size)) if likeness is None else np.asarray(likeness)
    )
    left = np.where(is_new, seen, 0.0)
    vanished = seen < vanished_below * due
    noise = np.sqrt(due)
    lacking = seen < due - LACK_SD * noise
    renamed = vanished | (seen < due - RENAMED_SD * noise)
    gone = np.flatnonzero(~is_new & (vanished | lacking))
    for old in sorted(gone.tolist(), key=lambda i: (-float(due[i] - seen[i]), i)):
        missing = float(due[old] - seen[old])
        doubt = DOUBT_SD * math.sqrt(2.0 * float(due[old])) if renamed[old] else 0.0
        for new in _heirs(old, missing, left, near):
            taken = min(missing + doubt, float(left[new]))
            left[new] -= taken
            missing, doubt = max(0.0, missing - taken), 0.0
    return left


def _heirs(
    old: int, missing: float, left: FloatArray, likeness: FloatArray
) -> list[int]:
    """New signatures with hits left, the best heir of a vanished one first."""

    def order(new: int) -> tuple[float, float, int]:
        size = abs(math.log(float(left[new]) / missing))
        return (-round(float(likeness[old, new]), 1), size, new)

    return sorted(np.flatnonzero(left > 0).tolist(), key=order)


def dose_log_ratio(
    hits: float, hits_log_exposure: float, exposure: float, windows: float
) -> float:
    r"""Do hits follow the exposure, or come at a constant pace? Log odds, in nats.

    Given their number, hits fall into windows in proportion to exposure (a fault of
    the release) or evenly (a client that keeps calling):
    :math:`\sum_t k_t \log n_t - k \log(n / w)`, halved because hits cluster. Needs
    exposure that changes: a ramp step, a daily cycle. Without it, about 0. The exposure
    must not contain the clients that are hit, or their visits would explain themselves.

    Parameters
    ----------
    hits : float
        Units hit, :math:`k`.
    hits_log_exposure : float
        Sum over windows of hits times the log of the window's exposure.
    exposure, windows : float
        Total exposure :math:`n` and number of windows :math:`w` since the first hit.

    Examples
    --------
    Ten hits a window while the exposure grows from 100 to 900:

    >>> round(dose_log_ratio(20, 10 * math.log(100) + 10 * math.log(900), 1000, 2), 1)
    -5.1
    """
    if hits <= 0 or exposure <= 0 or windows <= 0:
        return 0.0
    nats = hits_log_exposure - hits * math.log(exposure / windows)
    return _limited(nats / CLUSTER_HITS)


def addition_log_ratio(exposure: float, expected: float, hits: float) -> float:
    """Are the users who are hit the release's own, or extra ones? Log odds, in nats.

    ``expected`` is what the split of traffic elsewhere (other strata, the planned
    weight) predicts. A fault hits users who are there anyway, so the exposure is as
    expected; a scanner brings its own, so it is higher by the hits. Positive: own.
    Near 0 as long as the hits are few beside what the split leaves open.

    Examples
    --------
    >>> addition_log_ratio(98, 100, 98) > 5
    True
    >>> addition_log_ratio(86, 47, 32) < -3
    True
    """
    if expected <= 0 or hits <= 0:
        return 0.0
    variance = expected + hits + (SHARE_SPREAD * expected) ** 2
    own, extra = exposure - expected, exposure - expected - hits
    return _limited((extra**2 - own**2) / (2 * variance))


def spread_log_ratio(hits: ArrayLike, exposure: ArrayLike) -> float:
    """Do hits spread over strata like the exposure, or clump? Nats, never negative.

    Multinomial in proportion to exposure against a Dirichlet-multinomial that puts
    nearly everything into few strata. Clumping is no evidence against a fault (it
    may live in one segment), so the result is at least 0. Halved: hits cluster.

    Parameters
    ----------
    hits, exposure : array of shape (strata,)

    Examples
    --------
    >>> spread_log_ratio([12, 9, 10, 9], [100, 100, 100, 100]) > 4
    True
    >>> spread_log_ratio([40, 0, 0, 0], [100, 100, 100, 100])
    0.0
    """
    k, n = np.asarray(hits, dtype=np.float64), np.asarray(exposure, dtype=np.float64)
    used = n > 0
    k, n = k[used], n[used]
    if k.size < 2 or k.sum() <= 0:
        return 0.0
    even = float((k * np.log(n / n.sum())).sum())
    prior = CLUMP * k.size
    clumped = (
        math.lgamma(prior)
        - math.lgamma(prior + float(k.sum()))
        + float(_log_gamma(CLUMP + k).sum())
        - k.size * math.lgamma(CLUMP)
    )
    return max(0.0, _limited((even - clumped) / CLUSTER_HITS))


def _limited(nats: float) -> float:
    return max(-NAT_LIMIT, min(NAT_LIMIT, nats))
