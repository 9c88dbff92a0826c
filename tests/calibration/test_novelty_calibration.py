"""How often a signature is called new that is not, and how soon one that is.

Every run is seeded. Bounds come from exact binomial tails, so that a correct program
fails a test with probability at most 1e-6.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from detector.evidence.novelty import (
    addition_log_ratio,
    dose_log_ratio,
    new_rate_log_e,
)
from detector.evidence.rate_ratio import increments
from tests.calibration.chances import most

RELEASES = 10_000
LOOKS = 60
ALPHA = 0.01

pytestmark = pytest.mark.calibration


def clustered(
    draw: np.random.Generator, rate: np.ndarray, cluster: int, size: tuple[int, ...]
) -> np.ndarray:
    """Hits that come in clusters of one to ``2 * cluster - 1``, ``cluster`` on mean."""
    users = draw.poisson(np.broadcast_to(rate / cluster, size))
    extra = draw.binomial(users * (2 * cluster - 2), 0.5)
    return np.asarray(users + extra, dtype=np.float64)


def ever(
    seed: int, *, rate: float, factor: float, cluster: int, ramp: bool, level: float
) -> tuple[float, float]:
    """Share of releases whose signature ever reaches the level, and the median look.

    The old release has 20 windows alone, then both run: 1:1 or on a ramp.
    """
    draw = np.random.Generator(np.random.PCG64(seed))
    step = np.minimum(np.arange(LOOKS) // 20, 2)
    share = np.array([0.05, 0.25, 0.5])[step] if ramp else np.full(LOOKS, 0.5)
    units = 1000.0
    size = (RELEASES, LOOKS)
    new = clustered(draw, units * share * rate * factor, cluster, size).cumsum(axis=1)
    past = clustered(draw, np.full(1, 20 * units * rate), cluster, (RELEASES, 1))
    old = past + clustered(draw, units * (1 - share) * rate, cluster, size).cumsum(1)
    n1 = np.broadcast_to((units * share).cumsum(), size)
    n0 = np.broadcast_to(20 * units + (units * (1 - share)).cumsum(), size)
    log_e = new_rate_log_e(new, n1, old, n0, usual_rate=0.01)
    crossed = log_e >= level
    first = np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, LOOKS + 1)
    return float(crossed.any(axis=1).mean()), float(np.median(first))


@pytest.mark.parametrize("ramp", [False, True])
@pytest.mark.parametrize("cluster", [1, 2])
@pytest.mark.parametrize("rate", [0.00002, 0.0005, 0.005])
def test_equal_rates_rarely_new(rate: float, cluster: int, ramp: bool) -> None:
    """A signature with one rate everywhere reaches 1/alpha in at most alpha."""
    share, _ = ever(
        11, rate=rate, factor=1.0, cluster=cluster, ramp=ramp, level=-math.log(ALPHA)
    )
    assert share * RELEASES <= most(ALPHA, RELEASES)


@pytest.mark.parametrize("ramp", [False, True])
def test_new_signatures_are_found(ramp: bool) -> None:
    """A seventh more failures under a new name are proven in nearly all releases."""
    share, median = ever(
        12,
        rate=1e-7,
        factor=1.5e-3 / 1e-7,
        cluster=1,
        ramp=ramp,
        level=math.log(1000.0),
    )
    assert share > 0.99
    assert median <= (45 if ramp else 55)


def test_constant_client_rarely_ordinary() -> None:
    """A client at a constant pace is taken for a fault in at most one of twenty.

    Its exposure doubles over the day; looked at after every window. Likelihood
    ratios reach a level with probability at most exp(-level), and halving them
    makes that its square.
    """
    draw = np.random.Generator(np.random.PCG64(13))
    exposure = 100.0 * (1.5 - 0.5 * np.cos(np.linspace(0, 2 * np.pi, LOOKS)))
    runs, lifted = 1000, 0
    for _ in range(runs):
        hits = draw.poisson(2.0, LOOKS).astype(float)
        doses = (hits * np.log(exposure)).cumsum()
        lifted += any(
            dose_log_ratio(k, dose, n, w + 1.0) >= math.log(20.0)
            for w, (k, dose, n) in enumerate(
                zip(hits.cumsum(), doses, exposure.cumsum(), strict=True)
            )
        )
    assert lifted <= most(0.05, runs)


@pytest.mark.parametrize("own", [False, True])
def test_extra_users_are_told_apart(own: bool) -> None:
    """Hits that are a third of the stratum's users: extra or own, in 98 of 100."""
    draw = np.random.Generator(np.random.PCG64(14))
    runs, right = 1000, 0
    for _ in range(runs):
        expected = 1000.0 * math.exp(draw.normal(0.0, 0.05))
        hits = float(draw.poisson(500.0))
        exposure = float(draw.poisson(1000.0)) + (0.0 if own else hits)
        nats = addition_log_ratio(exposure, expected, hits)
        right += (nats > 0) == own
    assert runs - right <= most(0.02, runs)


def test_equal_scores_rarely_worse() -> None:
    """Scores of equal mean reach 1/alpha in at most alpha of the releases."""
    draw = np.random.Generator(np.random.PCG64(15))
    runs = 2000
    log_e = np.zeros((runs, 12))
    highest = np.full(runs, -np.inf)
    counts = np.full(runs, 20.0)
    for _ in range(LOOKS):
        harms = draw.beta(0.5, 1.5, (2, runs, 20)).sum(axis=2)
        log_e += increments(harms[0], harms[1], counts, counts, margin=1.0)
        mean = np.logaddexp.reduce(log_e, axis=1) - math.log(log_e.shape[1])
        highest = np.maximum(highest, mean)
    assert int((highest >= -math.log(ALPHA)).sum()) <= most(ALPHA, runs)
