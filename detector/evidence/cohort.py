"""Do units of the new release fail more often, when failures are told hours late?

A crash is reported when its user starts the application again. Of young units few
crashes are known yet, so a release that is growing looks better and one that is
leaving looks worse than it is. Units are therefore compared at equal maturity:
started at the same time and watched for the same time in both arms, or, where the
control has few of those, with the share of crashes that is known at that age.

Both comparisons err differently: the first when reports of one arm are held back,
the second when rates move over the day. The smaller effect of those that are about
equally precise decides. Empirical: how far rates wander between blocks is learnt.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from detector.evidence.types import BoolArray, FloatArray, IntArray

LAG_EDGES_H = np.array(
    [0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 36, 48, 72, 96, 120, 168]
)
"""Edges of the delay bins in hours; a later report is in the last one."""

LAGS = len(LAG_EDGES_H) - 1
THRESHOLD = 3.0
"""z from which on a release is taken for bad; measured, see the calibration test."""

PRIOR_SD = 0.1
"""Log-sd by which rates of equally mature units may differ for other reasons."""

PRIOR_CRASHES = 4.0
"""Crashes at the pooled rate that a stratum's own control rate is shrunk with."""

COMPARABLE = 2.0
"""A comparison with more than twice the error of the other has no say."""

BAD_MIN = 5.0
CONTROL_BAD_MIN = 10.0
EXPECTED_MIN = 1.0
SPANS_H = (math.inf, 24.0, 6.0)
"""Units of the last so many hours: all, and fewer, where the harm came later."""

BLOCK_H = 6.0
STILL_THERE = 0.4
"""Share of the log ratio that the newest units must still show."""


class Arm(NamedTuple):
    """Units and their known crashes by start time.

    ``units`` has shape (strata, bins), ``crashes`` (strata, bins, `LAGS`), by the
    delay after which each was reported.
    """

    units: FloatArray
    crashes: FloatArray

    @property
    def bad(self) -> FloatArray:
        """Crashes known so far, shape (strata, bins)."""
        known: FloatArray = self.crashes.sum(axis=2)
        return known


class CohortExcess(NamedTuple):
    """How much more often the candidate's units fail, beyond the margin.

    ``control`` says which comparison decided, ``start`` is the first bin of its span;
    ``low`` and ``high`` hold the ratio with 95 %.
    """

    z: float
    ratio: float
    low: float
    high: float
    present: bool
    control: str
    start: int
    bad: float
    units: float
    expected: float
    control_bad: float
    control_units: float


def cohort_excess(
    ages_h: FloatArray,
    candidate: Arm,
    control: Arm,
    everyone: Arm,
    log_margin: float,
) -> CohortExcess | None:
    r"""Whether the candidate's units crash more often at equal maturity.

    With :math:`F(a)` the share of crashes known at age a, the expectation is
    :math:`\mu = \sum n_T(s) F(a_s) r_C`; the root of the negative binomial deviance
    of the count against :math:`\mu` times the margin is the z [1]_. Beside it the
    Mantel-Haenszel rate ratio over units of both arms that started together,
    with the variance of Greenland & Robins [2]_.

    Parameters
    ----------
    ages_h : float array, shape (bins,)
        Age of the units of each bin at the newest report, in hours.
    candidate, control : Arm
        Same strata, same bins; no units of the candidate before its start.
    everyone : Arm
        Whatever the shape of the delays is learnt from, the candidate not in it.
    log_margin : float
        Log of the ratio that is still acceptable.

    Returns
    -------
    CohortExcess or None
        None where the control has too few crashes to say what is usual.

    References
    ----------
    .. [1] McCullagh & Nelder (1989), Generalized Linear Models, section 2.4.3.
    .. [2] Greenland & Robins (1985), Biometrics 41(1), 55-68.
    """
    started = np.flatnonzero(candidate.units.sum(axis=0) > 0)
    control_bad = float(control.crashes.sum())
    if not len(started) or control_bad < CONTROL_BAD_MIN:
        return None
    past = _past(ages_h, control, everyone)
    youngest, oldest = float(ages_h.min()), float(ages_h[started[0]])
    looks = [
        found
        for hours in SPANS_H
        if (
            found := _compare(
                past,
                ages_h <= min(oldest, youngest + hours),
                candidate,
                control,
                log_margin,
            )
        )
    ]
    if not looks:
        return None
    best = max(looks, key=lambda look: look.z)
    least = max(math.exp(log_margin), best.ratio**STILL_THERE)
    return best._replace(present=looks[-1].ratio >= least)


class DelayCurve(NamedTuple):
    """Share of crashes that is known at an age, up to a common factor."""

    reached: FloatArray

    def __call__(self, ages_h: FloatArray) -> FloatArray:
        """Share at each age, 1 at the end of the last delay bin that was seen."""
        out: FloatArray = np.interp(ages_h, LAG_EDGES_H, self.reached)
        return out


def delay_curve(ages_h: FloatArray, arm: Arm) -> DelayCurve:
    """How soon crashes become known, learnt from units old enough for each delay.

    Each delay bin has its own rate per unit, over the units that have been watched
    to its end; without that correction young units would make delays look short.
    """
    units, crashes = arm.units.sum(axis=0), arm.crashes.sum(axis=0)
    steps = np.zeros(LAGS + 1)
    for lag in range(LAGS):
        watched = ages_h >= LAG_EDGES_H[lag + 1]
        exposed = float(units[watched].sum())
        if exposed > 0:
            steps[lag + 1] = float(crashes[watched, lag].sum()) / exposed
    reached = np.cumsum(steps)
    if reached[-1] <= 0:
        return DelayCurve(np.minimum(1.0, np.arange(LAGS + 1.0)))
    return DelayCurve(reached / reached[-1])


def control_rates(known: FloatArray, control: Arm) -> FloatArray:
    """Crashes per unit of the control in each stratum, shrunk to its pooled rate."""
    ripe = (control.units * known).sum(axis=1)
    bad = control.bad.sum(axis=1)
    pooled = bad.sum() / ripe.sum()
    rates: FloatArray = (bad + PRIOR_CRASHES) / (ripe + PRIOR_CRASHES / pooled)
    return rates


def block_variance(expected: FloatArray, seen: FloatArray) -> float:
    """Relative variance of a rate between blocks of time, beyond Poisson's."""
    squares = float((expected**2).sum())
    if squares <= 0:
        return 0.0
    return max(0.0, float(((seen - expected) ** 2 - expected).sum()) / squares)


def deviance_root(bad: float, expected: float, inflation: float) -> float:
    """Signed root of the deviance of a count whose expectation is itself uncertain.

    Negative binomial with relative variance ``inflation``, half a count taken off
    for continuity; saturates at effect / sqrt(inflation).

    Examples
    --------
    >>> round(deviance_root(20, 10, 0.01), 2), round(deviance_root(5, 10, 0.01), 2)
    (2.5, -1.88)
    """
    count = max(0.0, bad - 0.5)
    size = 1.0 / max(inflation, 1e-9)
    part = count * math.log(count / expected) if count > 0 else 0.0
    rest = (count + size) * math.log((count + size) / (expected + size))
    return math.copysign(math.sqrt(max(0.0, 2 * (part - rest))), count - expected)


class Past(NamedTuple):
    """What is usual: share known and block of each bin, rates of the strata."""

    known: FloatArray
    block: IntArray
    rates: FloatArray
    wander: float


def _past(ages_h: FloatArray, control: Arm, everyone: Arm) -> Past:
    known = delay_curve(ages_h, everyone)(ages_h)
    block = ((ages_h - ages_h.min()) / BLOCK_H).astype(np.int64)
    rates = control_rates(known, control)
    expected = (control.units * known * rates[:, None]).sum(axis=0)
    wander = block_variance(
        _summed(block, expected),
        _summed(block, control.bad.sum(axis=0)),
    )
    return Past(known, block, rates, wander)


def _compare(
    past: Past, inside: BoolArray, candidate: Arm, control: Arm, log_margin: float
) -> CohortExcess | None:
    """Both comparisons over some of the bins, and what follows from them."""
    bad = float(candidate.bad[:, inside].sum())
    each = (candidate.units * past.known * past.rates[:, None]).sum(axis=0) * inside
    expected = float(each.sum())
    if bad < BAD_MIN or expected < EXPECTED_MIN:
        return None
    shares = _summed(past.block, each) / expected
    wander = PRIOR_SD**2 + past.wander * float((shares**2).sum())
    control_bad = float(control.crashes.sum())
    options = [("past", bad / expected, 1.0 / control_bad + wander)]
    beside = paired(candidate, control, inside)
    if beside is not None:
        ratio, variance = beside
        options.append(("beside", ratio, max(0.0, variance - 1 / bad) + PRIOR_SD**2))
    inflation = min(option[2] for option in options)
    width = math.sqrt(1.0 / bad + inflation)
    limit = (COMPARABLE * width) ** 2 - 1.0 / bad
    name, ratio, _ = min(
        (option for option in options if option[2] <= limit), key=lambda o: o[1]
    )
    return CohortExcess(
        z=deviance_root(bad, bad / ratio * math.exp(log_margin), inflation),
        ratio=ratio,
        low=ratio * math.exp(-1.96 * width),
        high=ratio * math.exp(1.96 * width),
        present=True,
        control=name,
        start=int(np.flatnonzero(inside)[0]),
        bad=bad,
        units=float(candidate.units[:, inside].sum()),
        expected=expected,
        control_bad=control_bad,
        control_units=float(control.units.sum()),
    )


def paired(
    candidate: Arm, control: Arm, inside: BoolArray
) -> tuple[float, float] | None:
    """Rate ratio of units that started together, and the variance of its log.

    None where one of the arms has no crash beside units of the other.
    """
    units_t, units_c = candidate.units[:, inside], control.units[:, inside]
    bad_t, bad_c = candidate.bad[:, inside], control.bad[:, inside]
    both = (units_t > 0) & (units_c > 0)
    total = np.where(both, units_t + units_c, 1.0)
    over = float((both * bad_t * units_c / total).sum())
    under = float((both * bad_c * units_t / total).sum())
    if over <= 0 or under <= 0:
        return None
    spread = (both * (bad_t + bad_c) * units_t * units_c / total**2).sum()
    return over / under, float(spread) / (over * under)


def _summed(block: IntArray, values: FloatArray) -> FloatArray:
    return np.bincount(block, weights=values).astype(np.float64)
