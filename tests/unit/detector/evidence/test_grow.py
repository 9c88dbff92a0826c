"""Drops of common outcomes: exact for every base rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from detector.evidence.grow import LOG_DROPS, grow_increments, nearest_null

SHAPES = ((5, 5), (3, 12), (12, 3))


@pytest.mark.parametrize("margin", [1.0, 0.9])
@pytest.mark.parametrize("guess", [0.1, 0.5, 0.99])
@pytest.mark.parametrize(("nt", "nc"), SHAPES)
def test_mean_evidence_never_exceeds_one(
    nt: int, nc: int, guess: float, margin: float
) -> None:
    """Enumerated over all outcomes, for shares of the null and wrong guesses."""
    kt, kc = (v.ravel() for v in np.meshgrid(np.arange(nt + 1), np.arange(nc + 1)))
    evidence = grow_increments(
        kt,
        kc,
        np.full(kt.size, nt),
        np.full(kt.size, nc),
        expected_share=guess,
        margin=margin,
    )
    for share in (0.05, 0.3, 0.6, 0.9, 1.0):
        for own in (margin * share, min(1.0, 1.1 * margin * share), 1.0):
            chance = binom.pmf(kt, nt, own) * binom.pmf(kc, nc, share)
            assert (chance @ np.exp(evidence)).max() <= 1 + 1e-9


def test_drop_gives_evidence() -> None:
    """A share of .25 beside .30 in ten thousand units is beyond doubt."""
    found = grow_increments([2500], [3000], [10_000], [10_000], expected_share=0.3)
    assert found.max() > 20


def test_rise_gives_none() -> None:
    """A candidate that succeeds more often has evidence below zero."""
    found = grow_increments([3500], [3000], [10_000], [10_000], expected_share=0.3)
    assert found.max() < 0


def test_margin_tolerates_small_drop() -> None:
    """A drop of 3 % is none with a margin of .95."""
    found = grow_increments(
        [2910], [3000], [10_000], [10_000], expected_share=0.3, margin=0.95
    )
    assert found.max() < 0


def test_pooled_share_without_margin() -> None:
    """With a margin of 1 the nearest null is the pooled share."""
    control = np.array([[0.4]])
    candidate = np.exp(LOG_DROPS)[None] * control
    null = nearest_null(candidate, control, np.array([[30.0]]), np.array([[70.0]]), 1.0)
    assert np.allclose(null, 0.3 * candidate + 0.7 * control)


def test_empty_arm_says_nothing() -> None:
    """Without units of one arm the evidence is zero."""
    assert not grow_increments([5], [0], [10], [0], expected_share=0.5).any()


def test_margin_must_be_ratio() -> None:
    """A margin above 1 would call an unchanged share a drop."""
    with pytest.raises(ValueError, match="ratio"):
        grow_increments([1], [1], [2], [2], expected_share=0.5, margin=1.2)
