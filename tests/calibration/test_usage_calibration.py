"""How often a kept plan is called a usage drop, and how soon a real one is found.

Every stream is seeded. The guarantee is empirical: the bounds below are exact
binomial tails around the rate that is claimed, so that a program with that rate
fails a test with probability at most 1e-6.
"""

from __future__ import annotations

import numpy as np
import pytest

from detector.evidence.plan import THRESHOLD, planned_log_odds, shortfall
from detector.evidence.types import FloatArray
from tests.calibration.chances import most

pytestmark = pytest.mark.calibration

STREAMS = 400
MINUTES = 180
LOOK_EVERY = 3
CLAIMED_FALSE = 0.005
"""Share of steps of three hours, kept to plan, that ever look like a drop."""


def odds_share(weight: float, off: FloatArray) -> FloatArray:
    """Share of traffic where the log odds are off the plan by so much."""
    share: FloatArray = 1 / (1 + np.exp(-(planned_log_odds(weight) + off)))
    return share


def first_alarm(candidate: FloatArray, control: FloatArray, weight: float) -> int:
    """Minute at which the shortfall first fires, -1 if it never does."""
    for now in range(5, len(candidate) + 1, LOOK_EVERY):
        found = shortfall(
            candidate[:now], control[:now], planned_log_odds(weight), bin_ms=60_000
        )
        if found is not None and found.z >= THRESHOLD and found.present:
            return now
    return -1


def alarms(
    weight: float, per_minute: float, seed: int, *, burst: int = 1, drop: float = 1.0
) -> list[int]:
    """First alarms of streams with a daily rise and a balancer a few percent off."""
    rng = np.random.default_rng(seed)
    found = []
    rise = 1 + 0.5 * np.sin(np.arange(MINUTES) * 2 * np.pi / 1440)
    for _ in range(STREAMS):
        off = rng.normal(0.0, 0.04) + np.log(drop)
        share = odds_share(weight, np.full(MINUTES, off))
        total = per_minute * rise / burst
        candidate = burst * rng.poisson(total * share).astype(float)
        control = burst * rng.poisson(total * (1 - share)).astype(float)
        found.append(first_alarm(candidate, control, weight))
    return found


@pytest.mark.parametrize(
    ("weight", "per_minute", "burst"),
    [(0.01, 500.0, 1), (0.1, 30.0, 1), (0.5, 20_000.0, 1), (0.25, 2000.0, 8)],
)
def test_kept_plans_hardly_ever_fire(
    weight: float, per_minute: float, burst: int
) -> None:
    """False alarms of whole steps stay below the claimed rate.

    A program with exactly the claimed rate fails with probability below 1e-6.
    """
    false = sum(found >= 0 for found in alarms(weight, per_minute, 11, burst=burst))
    assert false <= most(CLAIMED_FALSE, STREAMS)


@pytest.mark.parametrize(("drop", "within"), [(0.5, 12), (0.7, 30)])
def test_drops_are_found_in_minutes(drop: float, within: int) -> None:
    """Most drops at a tenth of 2000 units a minute are found within minutes.

    Each is found with probability above .9; 320 of 400 or fewer has a probability
    below 1e-6 then.
    """
    found = alarms(0.1, 2000.0, 12, drop=drop)
    assert sum(0 <= minute <= within for minute in found) > 320
