"""The bet on bounded means: exact where it can be enumerated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from detector.evidence.bounded_mean import mean_increments
from detector.evidence.rate_ratio import EFFECTS

share = st.floats(0.01, 0.99)
count = st.integers(1, 12)


def expected_factor(
    p_t: float, p_c: float, n_t: int, n_c: int, guess: float, margin: float
) -> np.ndarray:
    """Mean of the factor over all outcomes of two groups of coins."""
    k_t, k_c = (a.ravel() for a in np.mgrid[: n_t + 1, : n_c + 1].astype(float))
    chance = stats.binom.pmf(k_t, n_t, p_t) * stats.binom.pmf(k_c, n_c, p_c)
    log_e = mean_increments(
        k_t,
        k_c,
        np.full_like(k_t, n_t),
        np.full_like(k_c, n_c),
        guess=np.full_like(k_t, guess),
        margin=margin,
    )
    return chance @ np.exp(log_e)


@given(share, st.floats(0, 1), count, count, share, st.sampled_from([1.0, 1.25, 2.0]))
def test_mean_at_most_one(
    p_c: float, below: float, n_t: int, n_c: int, guess: float, margin: float
) -> None:
    """Up to the margin the factor's mean is at most 1, whatever the guess."""
    p_t = min(1.0, margin * p_c) * below
    factors = expected_factor(p_t, p_c, n_t, n_c, guess, margin)
    assert factors.shape == (EFFECTS,)
    assert (factors <= 1 + 1e-9).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.floats(0.05, 0.6))
def test_sum_bets_less_than_values(values: list[float], guess: float) -> None:
    """The bet on a sum is never more than the mean bet on coins of those values."""
    counts = np.array([float(len(values))])
    whole = mean_increments(
        [sum(values)], [0.0], counts, [5.0], guess=[guess], margin=1.25
    )
    chance = np.ones(1)
    for value in values:
        chance = np.convolve(chance, [1 - value, value])
    size = chance.size
    each = mean_increments(
        np.arange(size, dtype=float),
        np.zeros(size),
        np.full(size, counts[0]),
        np.full(size, 5.0),
        guess=np.full(size, guess),
        margin=1.25,
    )
    assert (np.exp(whole[0]) <= chance @ np.exp(each) + 1e-9).all()


def test_worse_scores_win() -> None:
    """A mean twice the control's earns, an equal one loses."""
    worse = mean_increments([40], [20], [100], [100], guess=[0.2], margin=1.25)
    equal = mean_increments([20], [20], [100], [100], guess=[0.2], margin=1.25)
    assert worse.max() > 1 > 0 > equal.max()


def test_empty_arm_says_nothing() -> None:
    """A cell without values of one arm contributes exactly zero."""
    out = mean_increments([3, 0], [0, 3], [5, 0], [0, 5], guess=[0.2, 0.2], margin=1.25)
    assert (out == 0).all()


@pytest.mark.parametrize(
    ("total", "margin", "word"), [(6.0, 1.25, "values"), (1.0, 0.5, "margin")]
)
def test_impossible_input_refused(total: float, margin: float, word: str) -> None:
    """Sums above the count and margins below 1 are refused in words."""
    with pytest.raises(ValueError, match=word):
        mean_increments([total], [1], [5], [5], guess=[0.2], margin=margin)
