"""How often equal arms look like a decline, and how soon a broken button is found.

Every stream is seeded. The guarantee is empirical: the bounds below are exact
binomial tails around the rate that is claimed, so that a program with that rate
fails a test with probability at most 1e-6.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench import fleet
from detector.evidence.plan import threshold_after
from detector.evidence.types import FloatArray
from detector.evidence.yields import decline, pair

pytestmark = pytest.mark.calibration

STREAMS = 400
WARM = 240
MINUTES = 180
LOOK_EVERY = 3
MARGIN, SPREAD = 1.25, 0.05
CLAIMED_FALSE = 0.005
"""Share of equal arms over three hours that ever look like a decline."""

FAIL_PROBABILITY = 1e-6


def made(
    rng: np.random.Generator,
    begun: FloatArray,
    *,
    each: float,
    lasts_min: float,
    uneven: float,
) -> FloatArray:
    """Requests of sessions that last, one at once and the others over their time."""
    load = rng.gamma(begun / uneven**2, uneven**2)
    stay = np.exp(-1.0 / lasts_min)
    present = np.zeros_like(load)
    now = 0.0
    for minute, came in enumerate(load):
        now = now * stay + came * (1.0 - stay)
        present[minute] = now
    return (rng.poisson(present * (each - 1.0)) + begun).astype(float)


def stream(
    rng: np.random.Generator,
    per_minute: float,
    share: float,
    does: float,
    **habits: float,
) -> FloatArray:
    """Both arms from the candidate's first minute on; the control was there before."""
    rise = 1 + 0.5 * np.sin(np.arange(WARM + MINUTES) * 2 * np.pi / 1440)
    part = np.where(np.arange(WARM + MINUTES) < WARM, 0.0, share)
    begun = [rng.poisson(per_minute * rise * p).astype(float) for p in (part, 1 - part)]
    off = does * np.exp(rng.normal(0.0, SPREAD))
    candidate = made(rng, begun[0], **habits) * off
    control = made(rng, begun[1], **habits)
    return pair(
        (candidate[WARM + 1 :], control[WARM + 1 :]),
        (begun[0][WARM + 1 :], begun[1][WARM + 1 :]),
    )


def first_alarm(pairs: FloatArray) -> int:
    """Minute at which the decline first fires, -1 if it never does."""
    for now in range(5, pairs.shape[1] + 1, LOOK_EVERY):
        found = decline(pairs[:, :now], margin=MARGIN, spread=SPREAD, bin_ms=60_000)
        over = found is not None and found.z >= threshold_after(now // 5)
        if found is not None and over and found.present:
            return now
    return -1


@pytest.mark.parametrize(
    ("per_minute", "share", "lasts_min", "each", "uneven"),
    [
        (30.0, 0.2, 2.0, 5.0, 2.0),
        (500.0, 0.05, 10.0, 20.0, 1.0),
        (3000.0, 0.25, 40.0, 4.0, 1.0),
        (3000.0, 0.5, 40.0, 40.0, 3.0),
        (20_000.0, 0.1, 20.0, 10.0, 0.5),
    ],
)
def test_equal_arms_hardly_ever_fire(
    per_minute: float, share: float, lasts_min: float, each: float, uneven: float
) -> None:
    """False alarms of whole releases stay below the claimed rate.

    A program with exactly the claimed rate fails with probability below 1e-6.
    """
    most = int(stats.binom.isf(FAIL_PROBABILITY, STREAMS, CLAIMED_FALSE))
    rng = np.random.default_rng(21)
    habits = {"each": each, "lasts_min": lasts_min, "uneven": uneven}
    false = sum(
        first_alarm(stream(rng, per_minute, share, 1.0, **habits)) >= 0
        for _ in range(STREAMS)
    )
    assert false <= most


@pytest.mark.parametrize(("does", "within"), [(0.4, 22), (0.55, 40)])
def test_broken_buttons_are_found(does: float, within: int) -> None:
    """Most declines at a tenth of 2000 sessions a minute are found soon after 20 min.

    Each is found with probability above .9; 320 of 400 or fewer has a probability
    below 1e-6 then.
    """
    rng = np.random.default_rng(22)
    habits = {"each": 10.0, "lasts_min": 5.0, "uneven": 1.0}
    found = [
        first_alarm(stream(rng, 2000.0, 0.1, does, **habits)) for _ in range(STREAMS)
    ]
    assert sum(0 <= minute <= within for minute in found) > 320


def test_whole_product_finds_broken_buttons() -> None:
    """Of drawn services with a broken button most are recommended for it.

    Each is found with probability above .9; fewer than 15 of 30 has a probability
    below 1e-6 then.
    """
    fates = fleet.run_population("broken button", 30, seed=23, alpha=0.01, jobs=1)
    found = [f for f in fates if f.is_hit]
    assert len(found) >= 15
    assert all("actions_down" in f.reasons for f in found)


@pytest.mark.parametrize("family", ["long sessions", "early habits"])
def test_whole_product_waits_for_young_sessions(family: str) -> None:
    """Sessions that last, and early adopters' habits, look like no harm at all.

    A program that is wrong for one of 200 fails with probability below 1e-6.
    """
    fates = fleet.run_population(family, 40, seed=24, alpha=0.01, jobs=1)
    most = int(stats.binom.isf(FAIL_PROBABILITY, len(fates), CLAIMED_FALSE))
    assert sum(f.is_false for f in fates) <= most
