"""The smallest cut that holds the harm: one value, one pair, or everything.

A Poisson two-part scan over the candidate's strata since the onset (statistics
4.4, statistics-controls 7). The answer is chosen after looking, so it is
labelled likely, never proven.
"""

from __future__ import annotations

from math import log, sqrt

from detector.history import Counts
from detector.series import Segment, segments_of

PSEUDO_UNITS = 20.0
"""Shrinks a thin control stratum towards the pooled control rate."""
GAIN_MIN_NATS = 4.0
OUTSIDE_RATIO_MAX = 1.35
OUTSIDE_NOISE_SD = 1.64
"""One-sided 95 %: how far above the limit chance may carry the complement."""
INSIDE_OVER_OUTSIDE_MIN = 1.4


def smallest_cut(
    attrs: tuple[str, ...],
    keys: dict[int, tuple[str, ...]],
    counts: dict[int, Counts],
) -> Segment:
    """The value or pair that explains the excess best, or () for all.

    Parameters
    ----------
    attrs, keys
        Attribute names and the values of each stratum.
    counts
        Per stratum, since the onset: units and bad of both arms.
    """
    expected = expected_bad(counts)
    if not expected:
        return ()
    inside: dict[Segment, tuple[float, float]] = {}
    for stratum, (_, bad, _, _) in counts.items():
        for segment in segments_of(attrs, keys.get(stratum, ()))[1:]:
            b, e = inside.get(segment, (0.0, 0.0))
            inside[segment] = (b + bad, e + expected[stratum])
    all_bad = sum(c[1] for c in counts.values())
    all_expected = sum(expected.values())
    best: Segment = ()
    best_gain = GAIN_MIN_NATS
    for segment in sorted(inside, key=lambda s: (len(s), s)):
        gain = _gain(*inside[segment], all_bad, all_expected)
        if gain > best_gain:
            best, best_gain = segment, gain
    return best


def expected_bad(counts: dict[int, Counts]) -> dict[int, float]:
    """Failed units that the control leads to expect, by stratum; empty without one."""
    total_bad_c = sum(c[3] for c in counts.values())
    total_units_c = sum(c[2] for c in counts.values())
    if total_units_c <= 0:
        return {}
    pooled = (total_bad_c + 0.5) / (total_units_c + 0.5)
    return {
        s: n_t * (k_c + PSEUDO_UNITS * pooled) / (n_c + PSEUDO_UNITS)
        for s, (n_t, _, n_c, k_c) in counts.items()
    }


def _is_clean(bad: float, expected: float) -> bool:
    """Whether a complement is not shown to be harmed.

    At the time of a decision it may hold a few dozen failures: a ratio above the
    limit by chance alone must not hide the segment.
    """
    limit = OUTSIDE_RATIO_MAX * expected
    return bad <= limit + OUTSIDE_NOISE_SD * sqrt(limit)


def _gain(bad: float, expected: float, all_bad: float, all_expected: float) -> float:
    """Log-likelihood gained by two rates instead of one; 0 if not a clean cut."""
    rest_bad, rest_expected = all_bad - bad, all_expected - expected
    if expected <= 0 or rest_expected <= 0 or bad <= 0 or all_expected <= 0:
        return 0.0
    within, outside = bad / expected, rest_bad / rest_expected
    if not _is_clean(rest_bad, rest_expected):
        return 0.0
    if within <= INSIDE_OVER_OUTSIDE_MIN * outside:
        return 0.0
    gain = bad * log(within) - all_bad * log(all_bad / all_expected)
    return gain + (rest_bad * log(outside) if rest_bad > 0 else 0.0)
