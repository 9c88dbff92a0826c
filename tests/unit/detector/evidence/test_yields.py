"""What sessions get done: who is paired with whom, what counts, what excuses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detector.evidence.plan import DISPERSION_MIN
from detector.evidence.types import FloatArray
from detector.evidence.yields import (
    DUE,
    GOT,
    could_decline,
    decline,
    dispersion,
    over_spans,
    pair,
    settled_after,
)

MINUTE_MS = 60_000
MARGIN, SPREAD = 1.25, 0.05


def arms(
    ratio: float | FloatArray = 1.0,
    *,
    bins: int = 40,
    begun: tuple[float, float] = (100.0, 900.0),
) -> FloatArray:
    """Sessions of both arms that make 5 requests, the candidate's times a ratio."""
    own, others = (np.full(bins, n) for n in begun)
    return pair((5.0 * own * ratio, 5.0 * others), (own, others))


def seen(pairs: FloatArray, **changes: float) -> tuple[float, bool]:
    """Ratio and presence of the worst span."""
    found = decline(pairs, margin=MARGIN, spread=SPREAD, bin_ms=MINUTE_MS, **changes)
    assert found is not None
    return math.exp(found.log_ratio), found.present


def test_equal_arms_have_no_decline() -> None:
    """Sessions that get as much done are far from the margin."""
    found = decline(arms(), margin=MARGIN, spread=SPREAD, bin_ms=MINUTE_MS)
    assert found is not None
    assert found.log_ratio == pytest.approx(0.0, abs=1e-3)
    assert found.z < 0
    assert not found.present


def test_half_done_is_a_decline() -> None:
    """Sessions that get half done say so, with the ratio and its sessions."""
    ratio, present = seen(arms(0.5))
    assert ratio == pytest.approx(0.5, abs=0.01)
    assert present


def test_swapped_arms_flip_the_sign() -> None:
    """Who had less has more once the arms change names."""
    rng = np.random.default_rng(1)
    done = tuple(rng.poisson(mean, 60).astype(float) for mean in (200, 900))
    begun = tuple(rng.poisson(mean, 60).astype(float) for mean in (50, 150))
    one = pair((done[0], done[1]), (begun[0], begun[1])).sum(axis=1)
    other = pair((done[1], done[0]), (begun[1], begun[0])).sum(axis=1)
    assert np.log(one[GOT] / one[DUE]) == pytest.approx(
        -np.log(other[GOT] / other[DUE])
    )


def test_another_mix_is_no_decline() -> None:
    """Strata that do less are compared with themselves, whoever has more of them."""
    own, others = np.array([[90.0], [10.0]]), np.array([[100.0], [900.0]])
    does = np.array([[2.0], [8.0]])
    sums = pair((own * does, others * does), (own, others)).sum(axis=1)
    assert sums[GOT] == pytest.approx(sums[DUE])


def test_sparse_cells_bias_nothing() -> None:
    """One session a minute against fifty gives the same ratio as many.

    The mean of 4,000 logs has a standard error of .0013 here: a correct program
    strays by .01 with probability below 1e-6.
    """
    rng = np.random.default_rng(2)
    own, others = rng.poisson(1.0, (200, 4000)), rng.poisson(50.0, (200, 4000))
    done = rng.poisson(5.0 * own), rng.poisson(5.0 * others)
    pairs = pair(
        (done[0].astype(float), done[1].astype(float)),
        (own.astype(float), others.astype(float)),
    )
    logs = np.log(pairs[GOT].sum(axis=0) / pairs[DUE].sum(axis=0))
    assert abs(logs.mean()) < 0.01


def test_early_age_says_nothing() -> None:
    """Before the split has settled there is no answer."""
    bins = settled_after(MINUTE_MS)
    assert bins == 20
    assert settled_after(5 * MINUTE_MS) == 6
    young = arms(0.1, bins=bins - 1)
    assert decline(young, margin=MARGIN, spread=SPREAD, bin_ms=MINUTE_MS) is None


@pytest.mark.parametrize("lasts_min", [2.0, 10.0, 40.0])
@pytest.mark.parametrize("at_once", [0.03, 0.25])
def test_young_sessions_are_excused(lasts_min: float, at_once: float) -> None:
    """A deficit that shrinks as sessions age is never present, at any age."""
    ages = np.arange(1, 200)
    ratio = at_once + (1 - at_once) * -np.expm1(-ages / lasts_min)
    for bins in range(20, len(ages), 3):
        assert not seen(arms(ratio[:bins], bins=bins))[1]


def test_aged_harm_is_not_excused() -> None:
    """Once sessions are grown, what is still missing is harm."""
    ages = np.arange(1, 61)
    ratio, present = seen(arms(0.5 * -np.expm1(-ages / 5.0), bins=60))
    assert present
    assert ratio < 0.55


def test_moving_split_is_excused() -> None:
    """While sessions still move over, requests that lag behind are no decline."""
    grows = np.geomspace(1.0, 16.0, 40) * 20.0
    lags = np.concatenate([np.full(10, grows[0]), grows[:-10]])
    others = np.full(40, 2000.0)
    pairs = pair((5.0 * lags, 5.0 * others), (grows, others))
    assert pairs[GOT].sum() < 0.6 * pairs[DUE].sum()
    assert not seen(pairs)[1]


@pytest.mark.parametrize("minutes", [1, 2, 3])
def test_blips_are_never_present(minutes: int) -> None:
    """A restart of one to three minutes leaves a part of each span as it was."""
    for end in range(30, 40):
        ratio = np.ones(40)
        ratio[end - minutes : end] = 0.0
        for bins in range(30, 41):
            assert not seen(arms(ratio[:bins], bins=bins))[1]


def test_late_harm_is_present() -> None:
    """Harm that begins an hour on is found in the short spans."""
    ratio = np.ones(80)
    ratio[70:] = 0.4
    found, present = seen(arms(ratio, bins=80))
    assert present
    assert found == pytest.approx(0.4, abs=0.01)


def test_ended_harm_is_not_present() -> None:
    """What was and is no more is no reason to act."""
    ratio = np.full(60, 0.4)
    ratio[-6:] = 1.0
    assert not seen(arms(ratio, bins=60))[1]


def test_uneven_sessions_are_noisier() -> None:
    """Where few sessions make most requests the noise is that of few."""
    rng = np.random.default_rng(3)
    begun = np.full(200, 100.0), np.full(200, 900.0)

    def noise(spread: float) -> float:
        load = [rng.gamma(n / spread**2, spread**2) for n in begun]
        done = [rng.poisson(5.0 * x).astype(float) for x in load]
        return dispersion(pair((done[0], done[1]), begun), MINUTE_MS)

    assert noise(0.5) == DISPERSION_MIN
    assert noise(4.0) > 3 * DISPERSION_MIN


def test_lasting_noise_is_measured_in_blocks() -> None:
    """Deviations that last for minutes are seen, though neighbours agree."""
    rng = np.random.default_rng(4)
    wander = np.repeat(np.exp(rng.normal(0.0, 0.2, 48)), 5)
    smooth = arms(np.convolve(wander, np.ones(5) / 5, "same"), bins=240)
    assert dispersion(smooth, MINUTE_MS) > 4 * DISPERSION_MIN


def test_sampling_widens_the_noise() -> None:
    """Sessions that stand for ten each are a tenth as sure."""
    pairs = arms(0.5, begun=(30.0, 300.0))
    plain = decline(pairs, margin=MARGIN, spread=SPREAD, bin_ms=MINUTE_MS)
    thin = decline(
        pairs,
        margin=MARGIN,
        spread=SPREAD,
        bin_ms=MINUTE_MS,
        inverse_rates=(10.0, 10.0),
    )
    assert plain is not None
    assert thin is not None
    assert thin.sd > 1.5 * plain.sd
    assert thin.z < plain.z


def test_dismissed_rows_have_no_decline() -> None:
    """A series that the bound dismisses does not reach the threshold itself."""
    rng = np.random.default_rng(5)
    rows = [arms(ratio, bins=60) for ratio in rng.uniform(0.3, 1.2, 50)]
    sums = over_spans(np.stack(rows, axis=1), MINUTE_MS)
    kept = could_decline(sums, margin=MARGIN, spread=SPREAD, at_least=3.0).tolist()
    z = [
        found.z
        for pairs in rows
        if (found := decline(pairs, margin=MARGIN, spread=SPREAD, bin_ms=MINUTE_MS))
    ]
    assert 0 < len(kept) < len(rows)
    assert {i for i, value in enumerate(z) if value >= 3.0} <= set(kept)


def test_empty_cells_say_nothing() -> None:
    """Bins without any session are neither good nor bad."""
    nothing = np.zeros(30)
    pairs = pair((nothing + 7, nothing + 9), (nothing, nothing))
    assert not pairs.any()
    assert decline(pairs, margin=MARGIN, spread=SPREAD, bin_ms=MINUTE_MS) is None
