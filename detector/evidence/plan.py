"""Does a release get the share of traffic that its rollout plan gives it?

While a canary or an A/B split ramps, the plan says which share of the units the
candidate gets. Too few of them, for longer than a restart takes, is a usage drop
that no rate shows: users who cannot get in have no errors. Balancers keep to a
plan only roughly, so the evidence saturates at their spread and does not grow
with traffic: the guarantee is empirical.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from detector.evidence.order import median
from detector.evidence.plansteps import SPREAD_PRIOR
from detector.evidence.types import BoolArray, FloatArray, IntArray

MARGIN = 1.1
"""Shortfall, as a factor, that is nobody's fault."""

LOOKS_ALPHA = 0.0025
"""Bound on all looks at one step of a ramp together."""

THRESHOLD = 3.0
"""Standard deviations beyond the margin at which a shortfall counts."""

DISPERSION_MIN = 2.0
"""Variance of a count over its mean, at least: users come in requests and visits."""

SPAN_FACTORS = (1, 3, 9, 27)
"""Spans looked at, in shortest spans. Long ones find small shortfalls."""

SHORTEST_SPAN_MS = 300_000
SHORTEST_SPAN_BINS = 3
"""The shortest span outlasts the one to three minutes of a restart."""

GROWTH = 3.0
"""How many more doublings of its age a ratio may rise as it did in the last one."""

ERRORS_KEEP_Z = 2.0
"""Standard deviations by which errors contradict a shortfall of usage."""


class Shortfall(NamedTuple):
    """How far the candidate is below its planned share, over the worst span.

    ``log_ratio`` is log of the odds of the candidate's units over the planned odds,
    negative if too few came; ``sd`` its standard deviation; ``z`` what lies beyond
    the margin in standard deviations; ``first`` and ``last`` the span's bins, half
    open; ``present`` whether the newest part agrees: a third of the span, at most as
    long as the shortest one.
    """

    z: float
    log_ratio: float
    sd: float
    units_candidate: float
    units_control: float
    first: int
    last: int
    present: bool


def threshold_after(spans: int) -> float:
    """From which z on a shortfall counts, after so many spans of a step.

    Each new span is another look: ``sum over s of alpha / (s (s + 1)) = alpha``, so
    that all looks together err with probability `LOOKS_ALPHA` at most, as far as z
    is normal. At least `THRESHOLD`.

    Examples
    --------
    >>> [round(threshold_after(spans), 2) for spans in (1, 12, 36)]
    [3.02, 4.16, 4.62]
    """
    return max(THRESHOLD, -float(ndtri(LOOKS_ALPHA / (spans * (spans + 1)))))


def planned_log_odds(weight: float) -> float:
    """Log odds of a unit belonging to a release with this share of the traffic.

    Raises ``ValueError`` unless ``0 < weight < 1``: a whole or empty share plans
    nothing that could be missed.
    """
    if not 0.0 < weight < 1.0:
        raise ValueError(f"a planned share lies between 0 and 1, not {weight}")
    return math.log(weight) - math.log1p(-weight)


def spans(bins: int, bin_ms: int) -> list[int]:
    """Lengths in bins of the spans to look at, shortest first.

    Only spans that the ``bins`` since the last change of the plan fill.
    """
    shortest = max(SHORTEST_SPAN_BINS, -(-SHORTEST_SPAN_MS // bin_ms))
    return [n for f in SPAN_FACTORS if (n := f * shortest) <= bins]


def dispersion(candidate: FloatArray, control: FloatArray) -> float:
    """Variance of the units over a Poisson stream's, from neighbouring bins.

    Differences of neighbours, and their median, do not see slow changes nor one
    jump: a shortfall does not excuse itself. At least `DISPERSION_MIN`.
    """
    kept = (candidate > 0) & (control > 0)
    if np.count_nonzero(kept) < 2 * SHORTEST_SPAN_BINS:  # too few for a median
        return DISPERSION_MIN
    t, c = candidate[kept], control[kept]
    logs = np.log(t / c)
    noise = 1.0 / t + 1.0 / c
    scaled = (logs[1:] - logs[:-1]) / np.sqrt(noise[1:] + noise[:-1])
    sd = 1.4826 * median(np.abs(scaled))
    return max(DISPERSION_MIN, sd * sd)


def shortfall(
    candidate: FloatArray,
    control: FloatArray,
    log_odds: float,
    *,
    bin_ms: int,
    spread: float = SPREAD_PRIOR,
    inverse_rates: tuple[float, float] = (1.0, 1.0),
    at_least: float = -math.inf,
    phi: float | None = None,
) -> Shortfall | None:
    """Whether the candidate got less than planned, over its worst recent span.

    For each span that ends now, ``D = log(u_T / u_C) - log odds`` and
    ``z = (-D - log margin) / sqrt(phi s_T / u_T + phi s_C / u_C + spread^2)``
    (statistics-controls 5.1), ``phi`` the measured dispersion, ``s`` the inverse
    sampling rate: a unit that stands for ten is as noisy as one. It is present if the
    newest part agrees, even if it went on to `rise` as since the last change.

    Parameters
    ----------
    candidate, control : FloatArray
        Units per bin since the plan last changed, oldest first, on the unsampled
        scale, only of cells where lines of both arms arrived; shape (bins,).
    log_odds
        Planned log odds, see `planned_log_odds`.
    bin_ms
        Length of a bin.
    spread
        Standard deviation of the balancer, see `spread`.
    inverse_rates
        One over the share of usage that sampling kept, candidate and control.
    at_least
        Smaller ``z`` are of no interest: most segments are dismissed cheaply.
    phi
        Their `dispersion`, where it is known already.

    Returns
    -------
    Shortfall or None
        The span with the largest ``z``; None while the bins fill no span, or where
        ``z`` is surely below ``at_least``.
    """
    live: BoolArray = (candidate > 0) | (control > 0)
    position = np.flatnonzero(live)
    lengths = spans(len(position), bin_ms)
    if not lengths:
        return None
    t, c = candidate[live], control[live]
    sums = np.cumsum(t[::-1]), np.cumsum(c[::-1])
    if at_least > -math.inf:
        least = (DISPERSION_MIN, DISPERSION_MIN)
        bound = (_over_span(sums, n, n, log_odds, least, spread).z for n in lengths)
        if max(bound) < at_least:
            return None
    if phi is None:
        phi = dispersion(t, c)
    noise = (
        max(phi, DISPERSION_MIN * inverse_rates[0]),
        max(phi, DISPERSION_MIN * inverse_rates[1]),
    )
    grows = rise(
        *(
            _log_ratio(_between(sums[0], *half), _between(sums[1], *half), log_odds)
            for half in halves(len(position))
        )
    )
    best: Shortfall | None = None
    for length in lengths:
        found = _over_span(sums, length, lengths[0], log_odds, noise, spread, grows)
        if best is None or found.z > best.z:
            best = found._replace(
                first=int(position[len(t) - length]), last=int(position[-1]) + 1
            )
    return best


def halves(bins: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The second quarter and the second half of the time since a change.

    As bins, counted back from now: between two ages and between their doubles.

    Examples
    --------
    >>> halves(20)
    ((10, 15), (0, 10))
    """
    late = bins - bins // 2
    return (late, bins - bins // 4), (0, late)


def rise(early: float, late: float) -> float:
    """By how much a log ratio may yet rise as the sessions of a release age.

    Right after a change the candidate's sessions are younger than its control's and
    have not made all their requests. If they last as long as chance has it
    (exponential), the deficit at twice the age is the square of that at the age, and
    about one more rise like the last one is to come. Longer tails, noise, and ages well
    below the sessions' length, where a slow rise looks like standing still, need more:
    `GROWTH` rises are granted.
    """
    return GROWTH * max(0.0, late - early)


def could_reach(
    candidate: FloatArray,
    control: FloatArray,
    log_odds: float,
    *,
    at_least: float,
    spread: float,
    bin_ms: int,
) -> IntArray:
    """Which of many series `shortfall` may find ``at_least`` in.

    No span of a series is quieter than Poisson's `DISPERSION_MIN`, and every span is
    among the sums back from now: all of them at once cost less than a few series
    one by one.

    Parameters
    ----------
    candidate, control : FloatArray
        As for `shortfall`; shape (series, bins).

    Returns
    -------
    IntArray
        Their rows, in order.
    """
    least = max(SHORTEST_SPAN_BINS, -(-SHORTEST_SPAN_MS // bin_ms))
    if candidate.shape[1] < least:
        return np.empty(0, dtype=np.int64)
    t, c = (
        np.cumsum(units[:, ::-1], axis=1)[:, least - 1 :] + 0.5
        for units in (candidate, control)
    )
    beyond = log_odds - np.log(t / c) - math.log(MARGIN)
    variance = DISPERSION_MIN / t + DISPERSION_MIN / c + spread**2
    reached = (beyond > 0) & (beyond**2 >= at_least**2 * variance * (1 - 1e-9))
    return np.flatnonzero(reached.any(axis=1))


def errors_keep_plan(
    log_ratio: float, bad_candidate: float, bad_control: float, log_odds: float
) -> bool:
    """Whether errors contradict a shortfall of usage: then telemetry is lost.

    Users who are not there make no errors. If the candidate's errors keep closer to
    the plan than to the measured shortfall, and chance does not explain it, it is
    the usage lines that are missing.
    """
    own = math.log((bad_candidate + 0.5) / (bad_control + 0.5)) - log_odds
    sd = math.sqrt(
        DISPERSION_MIN / (bad_candidate + 0.5)
        + DISPERSION_MIN / (bad_control + 0.5)
        + SPREAD_PRIOR**2
    )
    return own > log_ratio / 2 and own - log_ratio >= ERRORS_KEEP_Z * sd


def _over_span(
    sums: tuple[FloatArray, FloatArray],
    length: int,
    shortest: int,
    log_odds: float,
    noise: tuple[float, float],
    spread: float,
    grows: float = 0.0,
) -> Shortfall:
    """One span that ends now; ``sums`` are those of the newest 1, 2, 3 ... bins."""
    units_t, units_c = float(sums[0][length - 1]), float(sums[1][length - 1])
    log_ratio = _log_ratio(units_t, units_c, log_odds)
    variance = noise[0] / (units_t + 0.5) + noise[1] / (units_c + 0.5) + spread**2
    sd = math.sqrt(variance)
    third = max(1, min(length // 3, shortest))
    newest = _log_ratio(float(sums[0][third - 1]), float(sums[1][third - 1]), log_odds)
    return Shortfall(
        z=(-log_ratio - math.log(MARGIN)) / sd,
        log_ratio=log_ratio,
        sd=sd,
        units_candidate=units_t,
        units_control=units_c,
        first=0,
        last=0,
        present=newest < min(log_ratio / 2, -math.log(MARGIN) - grows),
    )


def _between(sums: FloatArray, newest: int, oldest: int) -> float:
    """Sum of the bins between two ages."""
    inner = float(sums[newest - 1]) if newest else 0.0
    return float(sums[oldest - 1]) - inner


def _log_ratio(units_t: float, units_c: float, log_odds: float) -> float:
    return math.log((units_t + 0.5) / (units_c + 0.5)) - log_odds
