"""Waves: what regions predict, what cancels, and what is the release's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detector.evidence.panel import Panel, deviations, robust_mean, wander
from detector.evidence.regions import (
    NEVER,
    THRESHOLD,
    Excess,
    pooled,
    wave_excess,
)
from detector.evidence.types import FloatArray, IntArray

DAY, HOUR = 288, 12
PRE = DAY + 6 * HOUR
BINS = PRE + 3 * HOUR
REGIONS = 5
MARGIN = math.log(1.25)


def counts(seed: int = 1, *, rate: float = 0.01) -> tuple[FloatArray, FloatArray]:
    """Failures and units of even regions, whose own day swings by a half."""
    rng = np.random.default_rng(seed)
    phase = np.arange(REGIONS)[:, None]
    swing = np.exp(0.5 * np.sin(2 * np.pi * np.arange(BINS) / DAY + phase))
    units = np.full((REGIONS, BINS), 20_000.0)
    return rng.poisson(units * rate * swing).astype(np.float64), units


def flips(*at: int) -> IntArray:
    """Flips of the first regions, the others not reached."""
    return np.array([*at, *[NEVER] * (REGIONS - len(at))], dtype=np.int64)


def look(bad: FloatArray, units: FloatArray, turned: IntArray, now: int) -> Excess:
    """What a wave shows at a bin where it must show something."""
    panel = Panel.of(bad, units, DAY, HOUR)
    found = wave_excess(panel, turned, now, MARGIN, {})
    assert found is not None
    return found


def test_doubling_in_flipped_regions_fires() -> None:
    """A region that doubles when it flips is seen within half an hour."""
    bad, units = counts()
    bad[0, PRE:] *= 2
    found = look(bad, units, flips(PRE), PRE + 6)
    assert found.z >= THRESHOLD
    assert found.present
    assert found.treated == (0,)
    assert found.log_ratio == pytest.approx(math.log(2), abs=0.25)


def test_quiet_wave_stays_below() -> None:
    """Regions that go on with their own days stay far from the threshold."""
    bad, units = counts()
    panel = Panel.of(bad, units, DAY, HOUR)
    for now in range(PRE + 2, BINS, 5):
        found = wave_excess(panel, flips(PRE, PRE + 9), now, MARGIN, {})
        assert found is None or found.z < 1


def test_trouble_everywhere_cancels_out() -> None:
    """An outage that hits every region alike is not the release's."""
    bad, units = counts()
    bad[:, PRE + 2 :] *= 8
    assert look(bad, units, flips(PRE), PRE + 12).z < 1


def test_usual_hour_is_predicted() -> None:
    """A surge that the region has every day at this hour is expected."""
    bad, units = counts()
    bad[0, PRE - DAY : PRE - DAY + 18] *= 3
    bad[0, PRE : PRE + 18] *= 3
    panel = Panel.of(bad, units, DAY, HOUR)
    found = wave_excess(panel, flips(PRE), PRE + 12, MARGIN, {})
    assert found is None or found.z < 1


@pytest.mark.parametrize("earlier", [3, 8, 20])
def test_trouble_before_flip_is_carried(earlier: int) -> None:
    """What began in a region before its flip is taken off what follows."""
    bad, units = counts()
    bad[0, PRE - earlier :] *= 4
    panel = Panel.of(bad, units, DAY, HOUR)
    found = wave_excess(panel, flips(PRE), PRE + 12, MARGIN, {})
    assert found is None or found.z < 1.5


def test_one_region_alone_is_doubted() -> None:
    """Where one of two flipped regions is well, the other's trouble is its own."""
    bad, units = counts()
    bad[0, PRE + 12 :] *= 4
    assert look(bad, units, flips(PRE, PRE), PRE + 24).z < 2


def test_fall_of_others_is_no_rise() -> None:
    """Flipped regions that did not rise are not blamed because the others fell."""
    bad, units = counts()
    bad[1:, PRE:] *= 0.3
    panel = Panel.of(bad, units, DAY, HOUR)
    assert wave_excess(panel, flips(PRE), PRE + 12, MARGIN, {}) is None


def test_ended_harm_is_not_present() -> None:
    """Harm that ended before the newest bins is not there any more."""
    bad, units = counts()
    bad[0, PRE : PRE + 8] *= 6
    assert not look(bad, units, flips(PRE), PRE + 12).present


def test_last_flip_uses_earlier_ones() -> None:
    """When no region is left, those that flipped long before show what is usual."""
    bad, units = counts()
    last = PRE + 2 * HOUR
    turned = np.array([PRE, PRE, PRE, PRE, last], dtype=np.int64)
    bad[4, last:] *= 3
    found = look(bad, units, turned, last + 6)
    assert found.treated == (4,)
    assert found.z >= THRESHOLD


def test_recovery_elsewhere_is_no_harm() -> None:
    """Trouble that ends in regions flipped earlier does not blame the last ones."""
    bad, units = counts()
    last = PRE + 2 * HOUR
    turned = np.array([PRE, PRE, PRE, PRE, last], dtype=np.int64)
    bad[:4, PRE - 2 : last] *= 5
    panel = Panel.of(bad, units, DAY, HOUR)
    found = wave_excess(panel, turned, last + 6, MARGIN, {})
    assert found is None or found.z < 1


def test_later_bins_are_not_seen() -> None:
    """What a look says does not depend on bins after it."""
    bad, units = counts()
    bad[0, PRE:] *= 1.5
    before = look(bad, units, flips(PRE), PRE + 8)
    bad[:, PRE + 8 :] *= 9
    assert look(bad, units, flips(PRE), PRE + 8) == before


def test_spreads_in_cache_change_nothing() -> None:
    """Looks with learnt spreads kept and learnt anew are the same to the bit."""
    bad, units = counts()
    panel, kept = Panel.of(bad, units, DAY, HOUR), {}
    for now in range(PRE + 2, PRE + 20):
        anew = wave_excess(panel, flips(PRE, PRE + 7), now, MARGIN, {})
        assert wave_excess(panel, flips(PRE, PRE + 7), now, MARGIN, kept) == anew


def test_regions_may_lack_telemetry() -> None:
    """Regions without any line in the block take no part."""
    bad, units = counts()
    bad[0, PRE:] *= 3
    bad[3, PRE:] = units[3, PRE:] = 0
    found = look(bad, units, flips(PRE), PRE + 6)
    assert found.z >= THRESHOLD


def test_nothing_flipped_says_nothing() -> None:
    """Before a flip, and where all flip at once, there is no comparison."""
    panel = Panel.of(*counts(), DAY, HOUR)
    assert wave_excess(panel, flips(), BINS, MARGIN, {}) is None
    assert wave_excess(panel, flips(BINS - 1), BINS, MARGIN, {}) is None
    everywhere = np.full(REGIONS, PRE, dtype=np.int64)
    assert wave_excess(panel, everywhere, PRE + 6, MARGIN, {}) is None


def test_strange_region_counts_less() -> None:
    """One strange region among four hardly moves the robust mean."""
    value, variance = np.array([0.0, 0.02, -0.02, 3.0]), np.full(4, 0.01)
    middle, doubt = robust_mean(value, variance)
    assert abs(middle) < 0.06
    assert doubt >= 0.01 / 4


def test_pooled_error_grows_with_strife() -> None:
    """Regions that disagree leave a larger error than regions that agree."""
    noise = np.full(2, 0.01)
    even = pooled(np.array([0.7, 0.7]), noise, np.zeros(2))
    torn = pooled(np.array([0.0, 1.4]), noise, np.zeros(2))
    assert even[0] == pytest.approx(torn[0]) == pytest.approx(0.7)
    assert even[1] == pytest.approx(math.sqrt(0.005))
    assert torn[1] > 5 * even[1]


def test_wander_is_learnt() -> None:
    """Regions that stray by a log-sd of 0.3 teach a spread of about that."""
    rng = np.random.default_rng(3)
    _, units = counts()
    steps = np.repeat(rng.normal(0, 0.3, (REGIONS, BINS // 12)), 12, axis=1)
    bad = units * 0.05 * np.exp(steps)
    panel = Panel.of(bad, units, DAY, HOUR)
    level = wander(panel, PRE, 12, 12, {})[0]
    # The block and its reference stray both, and neither is known exactly.
    assert 0.25 < level < 0.6


def test_first_day_knows_no_days() -> None:
    """Without a past day only the last hour predicts."""
    panel = Panel.of(*counts(), DAY, HOUR)
    at = np.array([HOUR * 3]), np.array([HOUR * 3]), np.array([HOUR * 4])
    level, day, change = deviations(panel, *at)
    assert np.isfinite(level.value).all()
    assert np.isnan(day.value).all()
    assert np.isnan(change.value).all()
