"""One e-value of many: a weighted mean, in logs, without overflow."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.combine import flagged, release_log_e


@given(
    st.lists(st.tuples(st.floats(-50, 50), st.floats(0.01, 1)), min_size=1, max_size=20)
)
def test_mean_of_e_values(pairs: list[tuple[float, float]]) -> None:
    """It is the log of the weighted mean, with unused weight at e = 1."""
    log_e = np.array([e for e, _ in pairs])
    weights = np.array([w for _, w in pairs])
    weights /= weights.sum() * 1.25
    want = np.log(np.sum(weights * np.exp(log_e)) + 0.2)
    assert release_log_e(log_e, weights) == pytest.approx(want, abs=1e-9)


def test_no_series_is_no_evidence() -> None:
    """Without series the e-value is 1."""
    assert release_log_e(np.zeros(0), np.zeros(0)) == 0.0


@pytest.mark.parametrize("extreme", [1e6, -1e6])
def test_extreme_evidence_stays_finite(extreme: float) -> None:
    """Evidence far beyond the range of floats neither overflows nor becomes NaN."""
    found = release_log_e(np.array([extreme, 0.0]), np.array([0.5, 0.5]))
    assert np.isfinite(found)
    assert found == pytest.approx(max(extreme, 0.0) + log(0.5))


def test_one_segment_is_not_diluted() -> None:
    """Evidence in one series costs at most the log of its weight."""
    log_e = np.array([0.0] * 19 + [20.0])
    assert release_log_e(log_e, np.full(20, 0.05)) >= 20.0 + log(0.05)


def test_e_bh_takes_the_largest_set() -> None:
    """The k largest are found for the largest k whose k-th is big enough."""
    log_e = np.log([400.0, 250.0, 140.0, 99.0])
    assert flagged(log_e, alpha=0.01).tolist() == [True, True, True, False]
    assert not flagged(np.zeros(3), alpha=0.01).any()


def test_e_bh_bounds_false_discoveries() -> None:
    """With no series harmed, any is found in at most alpha of the trials.

    2,000 trials at alpha .05 with e-values of mean 1: P(more than 160 found) < 1e-6
    for a correct program (binomial, p <= .05).
    """
    rng = np.random.default_rng(7)
    normal = rng.normal(size=(2000, 20))
    log_e = 2.0 * normal - 2.0
    assert sum(flagged(row, 0.05).any() for row in log_e) <= 160
