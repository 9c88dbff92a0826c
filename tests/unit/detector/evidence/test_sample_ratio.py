"""Sample ratio: exact evidence, right priors, and nothing said about broken input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from detector.evidence.sample_ratio import CONCENTRATION, LOG_THRESHOLD, log_evidence


def one(candidate: float, total: float, share: float, spread: float = 0.0) -> float:
    """Evidence of one pair of counts."""
    return float(log_evidence(candidate, total, share, spread=spread)[0])


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.9])
def test_mean_evidence_is_one(share: float) -> None:
    """Under the exact plan the expectation over all outcomes is 1."""
    total = 60
    counts = np.arange(total + 1.0)
    chance = stats.binom.pmf(counts, total, share)
    mean = float((chance * np.exp(log_evidence(counts, total, share))).sum())
    assert mean == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("spread", [0.05, 0.2])
def test_mean_with_spread_is_one(spread: float) -> None:
    """Under a plan kept with that spread the expectation is 1 as well."""
    share, total = 0.3, 50
    weight = 1.0 / (spread**2 * share * (1 - share))
    counts = np.arange(total + 1.0)
    chance = stats.betabinom.pmf(counts, total, weight * share, weight * (1 - share))
    found = np.exp(log_evidence(counts, total, share, spread=spread))
    assert float((chance * found).sum()) == pytest.approx(1.0, rel=1e-8)


def test_matches_the_beta_binomial() -> None:
    """The value is the ratio of the two models' probabilities of the counts."""
    share, total, got = 0.2, 500, 120
    a, b = CONCENTRATION * share, CONCENTRATION * (1 - share)
    expected = stats.betabinom.logpmf(got, total, a, b) - stats.binom.logpmf(
        got, total, share
    )
    assert one(got, total, share) == pytest.approx(float(expected), rel=1e-9)


def test_uneven_plan_finds_excess() -> None:
    """A tenth planned and 12 % seen of 100,000 units is beyond doubt."""
    assert one(12_000, 100_000, 0.1) > 200


def test_split_on_plan_is_quiet() -> None:
    """Exactly the planned split is evidence for the plan."""
    assert one(10_000, 100_000, 0.1) < 0


def test_small_misses_are_found() -> None:
    """52 to 48 instead of halves is found within some ten thousand units."""
    assert one(10_400, 20_000, 0.5) > LOG_THRESHOLD


def test_arms_may_be_swapped() -> None:
    """Evidence does not depend on which arm is called the candidate."""
    assert one(230, 1000, 0.3) == pytest.approx(one(770, 1000, 0.7), rel=1e-9)


def test_spread_saturates_evidence() -> None:
    """What the balancer's spread explains stays unproven whatever the traffic."""
    odds = math.exp(0.06)
    share = odds / (1 + odds)
    for total in (1e5, 1e7, 1e9):
        assert one(share * total, total, 0.5, spread=0.05) < LOG_THRESHOLD
    assert one(0.7 * 1e7, 1e7, 0.5, spread=0.05) > LOG_THRESHOLD


def test_no_units_say_nothing() -> None:
    """Without units the evidence is 0."""
    assert one(0, 0, 0.5) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("candidate", "total", "share"),
    [(1, 2, 0.0), (1, 2, 1.0), (3, 2, 0.5), (-1, 2, 0.5), (math.nan, 2, 0.5)],
)
def test_impossible_counts_are_refused(
    candidate: float, total: float, share: float
) -> None:
    """Shares that plan nothing and counts that cannot be are errors."""
    with pytest.raises(ValueError, match=r"share|counts"):
        one(candidate, total, share)
