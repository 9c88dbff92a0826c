"""Cohorts: equal maturity, held back reports, and which control is believed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detector.evidence.cohort import (
    LAG_EDGES_H,
    LAGS,
    THRESHOLD,
    Arm,
    CohortExcess,
    block_variance,
    cohort_excess,
    control_rates,
    delay_curve,
    deviance_root,
    paired,
)
from detector.evidence.types import FloatArray

BINS, START = 120, 72
AGES_H = (BINS - np.arange(BINS) - 0.5) / 2
MARGIN = math.log(1.25)
EVERYWHERE = np.ones(BINS, dtype=bool)


def shape(median_h: float = 3.0) -> FloatArray:
    """Share of crashes in each delay bin, exponential delays."""
    reached = 1 - np.exp(-LAG_EDGES_H * math.log(2) / median_h)
    reached[-1] = 1.0
    return np.diff(reached)


def arm(
    units: FloatArray, rate: float, seed: int, delays: FloatArray | None = None
) -> Arm:
    """An arm at the newest bin: of young units only the quick reports are known."""
    rng = np.random.default_rng(seed)
    mean = units[:, None] * rate * (shape() if delays is None else delays)
    crashes = rng.poisson(mean).astype(np.float64)
    crashes[AGES_H[:, None] < LAG_EDGES_H[None, 1:]] = 0.0
    return Arm(units[None], crashes[None])


def fleet(ratio: float, *, share: float = 0.5, total: float = 4000.0) -> CohortExcess:
    """A release with that rate ratio which takes a share of the units at START."""
    own = np.where(np.arange(BINS) >= START, share * total, 0.0)
    control = arm(total - own, 0.005, seed=2)
    found = cohort_excess(
        AGES_H, arm(own, 0.005 * ratio, seed=3), control, control, MARGIN
    )
    assert found is not None
    return found


def test_delays_are_learnt_despite_youth() -> None:
    """Units too young for a delay do not make delays look short."""
    units = np.full(BINS, 100_000.0)
    curve = delay_curve(AGES_H, arm(units, 0.01, seed=1))
    true = np.cumsum(shape())
    for lag in (3, 7, 11):
        assert curve.reached[lag + 1] == pytest.approx(true[lag], abs=0.03)


def test_no_report_teaches_no_delay() -> None:
    """Without any crash every age counts as fully known."""
    nothing = Arm(np.ones((1, BINS)), np.zeros((1, BINS, LAGS)))
    assert delay_curve(AGES_H, nothing)(np.array([0.0, 5.0])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_equal_rates_stay_below(share: float) -> None:
    """A release like its control is not blamed, however young its units are."""
    assert fleet(1.0, share=share).z < 1


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_tripled_rate_fires(share: float) -> None:
    """Three times the crashes are seen at any share of the fleet."""
    found = fleet(3.0, share=share)
    assert found.z >= THRESHOLD
    assert found.present
    assert found.low < 3 < found.high


def test_improvement_is_never_harm() -> None:
    """Half the crashes give a z below 0."""
    assert fleet(0.5).z < 0


def test_held_reports_of_control_excuse() -> None:
    """Reports of the control that are held back do not make the release worse."""
    own = np.where(np.arange(BINS) >= START, 2000.0, 0.0)
    control = arm(4000.0 - own, 0.005, seed=2)
    lags = np.arange(LAGS)[None, :]
    held = (AGES_H[:, None] < 8) & (LAG_EDGES_H[lags] < 8)
    control.crashes[0][held] = 0.0
    found = cohort_excess(AGES_H, arm(own, 0.005, seed=3), control, control, MARGIN)
    assert found is not None
    assert found.control == "past"
    assert found.z < 1


def test_silent_control_says_nothing() -> None:
    """A control with hardly a crash does not tell what is usual."""
    own = np.where(np.arange(BINS) >= START, 2000.0, 0.0)
    control = arm(np.full(BINS, 1.0), 0.005, seed=2)
    candidate = arm(own, 0.05, seed=3)
    assert cohort_excess(AGES_H, candidate, control, control, MARGIN) is None


def test_strata_keep_their_own_rate() -> None:
    """A stratum with many crashes is expected to have many in the release."""
    units = np.full(BINS, 5000.0)
    calm, wild = arm(units, 0.001, seed=4), arm(units, 0.01, seed=5)
    both = Arm(
        np.concatenate([calm.units, wild.units]),
        np.concatenate([calm.crashes, wild.crashes]),
    )
    known = delay_curve(AGES_H, both)(AGES_H)
    rates = control_rates(known, both)
    assert rates[1] / rates[0] == pytest.approx(10, rel=0.15)


def test_shift_of_mix_is_no_harm() -> None:
    """A release that serves mostly the crashing stratum is not the worse for it."""
    new = np.arange(BINS) >= START
    arms = []
    for seed, (calm, wild) in enumerate([(300.0, 3000.0), (3000.0, 300.0)]):
        units = [np.where(new, calm, 0.0), np.where(new, wild, 0.0)]
        if seed:
            units = [np.full(BINS, calm), np.full(BINS, wild)]
        parts = [
            arm(units[0], 0.002, seed=6 + seed),
            arm(units[1], 0.02, seed=8 + seed),
        ]
        arms.append(
            Arm(
                np.concatenate([p.units for p in parts]),
                np.concatenate([p.crashes for p in parts]),
            )
        )
    found = cohort_excess(AGES_H, arms[0], arms[1], arms[1], MARGIN)
    assert found is not None
    assert found.z < 1


def test_paired_ratio_is_the_true_one() -> None:
    """The ratio over units that started together estimates the ratio of rates."""
    units = np.full(BINS, 50_000.0)
    found = paired(arm(units, 0.02, seed=1), arm(units, 0.01, seed=2), EVERYWHERE)
    assert found is not None
    assert found[0] == pytest.approx(2, rel=0.05)
    assert found[1] == pytest.approx(1.5 / (units.sum() * 0.01), rel=0.2)


def test_paired_needs_both_arms() -> None:
    """Without units of both arms that started together there is no such ratio."""
    early = np.where(np.arange(BINS) < START, 1000.0, 0.0)
    late = 1000.0 - early
    assert paired(arm(late, 0.1, seed=1), arm(early, 0.1, seed=2), EVERYWHERE) is None


def test_block_variance_sees_wander() -> None:
    """Rates that stray by a fifth between blocks have a variance of about .04."""
    rng = np.random.default_rng(7)
    expected = np.full(400, 500.0)
    seen = rng.poisson(expected * np.exp(rng.normal(0, 0.2, 400))).astype(np.float64)
    assert block_variance(expected, seen) == pytest.approx(0.04, abs=0.02)
    even = rng.poisson(expected).astype(np.float64)
    assert block_variance(expected, even) < 0.001
    assert block_variance(np.zeros(3), np.zeros(3)) == 0.0


def test_deviance_root_saturates() -> None:
    """With an uncertain expectation more units do not add evidence for ever."""
    few, many = deviance_root(30, 20, 0.01), deviance_root(30_000, 20_000, 0.01)
    assert few < many < 1.05 * deviance_root(3_000_000, 2_000_000, 0.01)
    assert deviance_root(0, 5, 0.01) < 0
