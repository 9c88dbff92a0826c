"""The odds of exceeding a threshold: exact validity, tempering, thresholds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import nchypergeom_fisher

from detector.evidence.exceedance import (
    PRIOR_SPREAD,
    effective_cells,
    largest_mean,
    log_odds_ratio,
    nearest_edges,
    odds_increments,
    spread_of,
    spread_step,
)
from detector.evidence.rate_ratio import increments

SHAPES = ((5, 5), (10, 40), (40, 10), (3, 200), (60, 60))
SHARES = (0.02, 0.1, 0.33, 0.5, 0.9, 0.99)


@pytest.mark.parametrize("margin", [1.0, 1.25, 2.0])
@pytest.mark.parametrize("spread", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(("nt", "nc"), SHAPES)
def test_mean_evidence_never_exceeds_one(
    nt: int, nc: int, spread: float, margin: float
) -> None:
    """Enumerated over every split of every total, at the margin and below it."""
    for total in {max(1, round(share * (nt + nc))) for share in SHARES}:
        parts = np.arange(max(0, total - nc), min(nt, total) + 1)
        sizes = np.full(parts.size, nt), np.full(parts.size, nc)
        evidence = odds_increments(
            parts, total - parts, *sizes, margin=margin, spread=spread
        )
        for odds in (margin, 0.7 * margin):
            chance = nchypergeom_fisher.pmf(parts, nt + nc, nt, total, odds)
            mean = chance @ np.exp(evidence) / chance.sum()
            assert mean.max() <= 1 + 1e-9


@pytest.mark.parametrize("odds", [1.0, 1.25, 3.0])
def test_mean_bound_lies_above_mean(odds: float) -> None:
    """The bound on the expected part is one, within a twentieth of the total."""
    for nt, nc in SHAPES:
        for total in {max(1, round(share * (nt + nc))) for share in SHARES}:
            exact = nchypergeom_fisher.mean(nt + nc, nt, total, odds)
            sizes = (np.array([float(v)]) for v in (total, nt, nc, odds))
            bound = largest_mean(*sizes)[0]
            assert exact - 1e-9 <= bound <= exact + 0.05 * total


def test_rare_events_match_rates() -> None:
    """With one event in ten thousand the odds test is the rate-ratio test."""
    counts = [30], [20], [400_000], [500_000]
    odds = odds_increments(*counts, margin=1.25)
    rates = increments(*counts, margin=1.25)
    assert np.allclose(odds, rates, rtol=1e-2, atol=1e-2)


def test_effective_cells_carry_evidence() -> None:
    """The rate-ratio test of the effective counts is the odds test."""
    counts = [700, 3], [500, 9], [1000, 50], [1000, 400]
    cells = effective_cells(*counts, margin=1.25, spread=0.1)
    direct = odds_increments(*counts, margin=1.25, spread=0.1)
    assert np.allclose(increments(*cells, margin=1.25), direct)


def test_spread_bounds_one_window() -> None:
    """However many records a window holds, its evidence stays below its spread's."""
    counts = [600_000], [400_000], [1_000_000], [1_000_000]
    free = odds_increments(*counts, margin=1.25).max()
    tempered = odds_increments(*counts, margin=1.25, spread=0.1).max()
    assert free > 1000
    assert 0 < tempered < 0.5 * (np.log(2.25 / 1.25) / 0.1) ** 2


def test_one_armed_cell_says_nothing() -> None:
    """Without records of one arm, or without any choice, the evidence is zero."""
    assert not odds_increments([5], [0], [10], [0], margin=1.0).any()
    assert not odds_increments([0], [5], [0], [10], margin=1.0).any()
    assert not odds_increments([10], [10], [10], [10], margin=1.25).any()
    assert not odds_increments([0], [0], [10], [10], margin=1.25).any()


def test_improvement_gives_no_evidence() -> None:
    """A faster candidate has evidence below zero for every effect."""
    assert (odds_increments([300], [500], [1000], [1000], margin=1.0) < 0).all()


def test_impossible_counts_are_refused() -> None:
    """More above a threshold than there are records is an error of the caller."""
    with pytest.raises(ValueError, match="exceeds"):
        odds_increments([11], [0], [10], [10], margin=1.0)
    with pytest.raises(ValueError, match="margin"):
        odds_increments([1], [0], [10], [10], margin=0.0)


def test_nearest_edge_in_odds() -> None:
    """For .99 an edge exceeded by .02 is nearer than one exceeded by .0002."""
    chosen = nearest_edges([500, 240, 20, 0.2, 0], [1000] * 5, (0.5, 0.75, 0.99))
    assert chosen.tolist() == [0, 1, 2]


def test_edge_must_split_records() -> None:
    """Edges that all or no records exceed are never chosen."""
    assert nearest_edges([1000, 0], [1000, 1000]).size == 0


def test_lasting_difference_teaches_nothing() -> None:
    """Arms that differ by a constant have no spread beyond sampling."""
    window = (1.5, 1e-9)
    weight, square = spread_step(window, window, PRIOR_SPREAD)
    assert weight == pytest.approx(1.0, abs=1e-6)
    assert abs(square) < 1e-6


def test_spread_learns_private_noise() -> None:
    """After 400 windows with log-sd .3 the spread is .3; fails below 1e-6."""
    rng = np.random.default_rng(5)
    levels = rng.normal(0.0, 0.3, 401)
    weight = square = 0.0
    for before, now in pairwise(levels.tolist()):
        step = spread_step((before, 1e-4), (now, 1e-4), spread_of(weight, square))
        weight, square = weight + step[0], square + step[1]
    assert spread_of(weight, square) == pytest.approx(0.3, abs=0.06)


def test_onset_hardly_moves_spread() -> None:
    """A single jump, however large, counts for at most nine variances."""
    step = spread_step((0.0, 1e-4), (5.0, 1e-4), PRIOR_SPREAD)
    assert spread_of(*step) < 1.25 * PRIOR_SPREAD


def test_log_odds_ratio_is_symmetric() -> None:
    """Swapping the arms flips the sign and keeps the variance."""
    forth = log_odds_ratio([30], [10], [100], [200])
    back = log_odds_ratio([10], [30], [200], [100])
    assert forth[0][0] == pytest.approx(-back[0][0])
    assert forth[1][0] == pytest.approx(back[1][0])
