"""Waves over drawn services: how often a harmless one fires, and a bad one is found.

Worlds have regions of unlike size, rate and day, a wander of their own and one in
common, and beside it nothing, an outage everywhere, an incident in a region from
before its flip, or an hour that is bad every day.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest

from detector.evidence.panel import Panel
from detector.evidence.regions import NEVER, THRESHOLD, wave_excess
from detector.evidence.types import FloatArray, IntArray
from tests.calibration.chances import count, least, most

DAY, HOUR = 288, 12
PRE = DAY + 6 * HOUR
LIFE = 5 * HOUR
BINS = PRE + LIFE
MARGIN = math.log(1.25)
KINDS = ("plain", "outage_everywhere", "incident_before", "usual_hour")
Generator = np.random.Generator


class World(NamedTuple):
    """Counts of regions in five-minute bins and the flips of a wave."""

    bad: FloatArray
    units: FloatArray
    flips: IntArray


def wandering(rng: Generator, rows: int, sd: float, bins: float) -> FloatArray:
    """Autoregressive noise of that sd and correlation length."""
    keep = math.exp(-1 / bins)
    steps = rng.normal(0, sd, (rows, BINS))
    steps[:, 1:] *= math.sqrt(1 - keep * keep)
    for b in range(1, BINS):
        steps[:, b] += keep * steps[:, b - 1]
    return steps


def waves(rng: Generator, regions: int) -> IntArray:
    """Two regions or more turn, one after another, the last ones often together."""
    flips = np.full(regions, NEVER, dtype=np.int64)
    at = PRE
    for turn, region in enumerate(rng.permutation(regions)[: rng.integers(2, regions)]):
        flips[region] = at
        if turn < 2 or rng.random() < 0.6:
            at += int(rng.integers(4, 10))
    return flips


def disturb(rng: Generator, kind: str, log_rate: FloatArray, flips: IntArray) -> None:
    """Add what looks like a regression and is none."""
    region, size = int(np.argmin(flips)), int(rng.integers(6, 18))
    factor = math.log(rng.uniform(2.5, 8))
    if kind == "outage_everywhere":
        start = PRE + int(rng.integers(-6, 3 * HOUR))
        log_rate[:, start : start + size] += factor
    elif kind == "incident_before":
        start = PRE - int(rng.integers(2, HOUR))
        log_rate[region, start : start + 2 * size] += factor
    elif kind == "usual_hour":
        for start in (PRE - DAY, PRE):
            log_rate[region, start : start + size] += factor / 2


def drawn(rng: Generator, kind: str, ratio: float) -> World:
    """One service and a wave through it."""
    regions = int(rng.integers(4, 8))
    angle = 2 * math.pi * np.arange(BINS) / DAY + rng.uniform(0, 6.28, (regions, 1))
    share = rng.dirichlet(np.full(regions, 4.0))[:, None]
    load = np.exp(rng.uniform(0.2, 0.8) * np.sin(angle))
    log_rate = rng.uniform(0.1, 0.8, (regions, 1)) * np.sin(
        angle + rng.uniform(0, 6.28, (regions, 1))
    )
    log_rate += rng.normal(0, 0.3, (regions, 1))
    log_rate += wandering(rng, 1, 0.25, rng.uniform(3, 36))
    log_rate += wandering(rng, regions, rng.uniform(0.03, 0.15), rng.uniform(3, 72))
    flips = waves(rng, regions)
    disturb(rng, kind, log_rate, flips)
    log_rate[np.arange(BINS) >= flips[:, None]] += math.log(ratio)
    units = rng.poisson(share * load * 1e5 / HOUR).astype(np.float64)
    level = math.exp(rng.uniform(math.log(200), math.log(3000))) / 1e5
    bad = rng.poisson(units * np.minimum(0.5, level * np.exp(log_rate)))
    return World(bad.astype(np.float64), units, flips)


def fires(world: World, step: int) -> bool:
    """Whether the wave is ever taken for bad, looked at every ``step`` bins."""
    panel, spreads = Panel.of(world.bad, world.units, DAY, HOUR), {}
    for now in range(PRE + 2, BINS, step):
        seen = np.where(world.flips < now, world.flips, NEVER)
        found = wave_excess(panel, seen, now, MARGIN, spreads)
        if found is not None and found.present and found.z >= THRESHOLD:
            return True
    return False


def fired(kind: str, ratio: float, runs: int, *, step: int, seed: int) -> int:
    """How many of the drawn waves fire."""
    return count(lambda rng: fires(drawn(rng, kind, ratio), step), runs, seed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_harmless_waves_rarely_fire(kind: str) -> None:
    """Of 12 harmless waves at most 5 fire.

    Each does with probability at most .02: P(binomial(12, .02) > 5) <= 1e-6.
    """
    assert fired(kind, 1.0, 12, step=4, seed=31) <= most(0.02, 12)


@pytest.mark.slow
def test_fourfold_harm_is_found() -> None:
    """Of 8 waves that fail four times as often at least 3 are found.

    Each is with probability at least .95: P(binomial(8, .95) < 3) <= 1e-6.
    """
    assert fired("plain", 4.0, 8, step=4, seed=32) >= least(0.95, 8)


@pytest.mark.calibration
@pytest.mark.parametrize("kind", KINDS)
def test_harmless_waves_stay_long(kind: str) -> None:
    """Of 300 harmless waves, looked at after every bin, at most 21 fire.

    Each does with probability at most .02: P(binomial(300, .02) > 21) <= 1e-6.
    """
    assert fired(kind, 1.0, 300, step=1, seed=33) <= most(0.02, 300)


@pytest.mark.calibration
@pytest.mark.parametrize(("ratio", "power"), [(2.0, 0.65), (4.0, 0.95)])
def test_bad_waves_are_found(ratio: float, power: float) -> None:
    """Of 60 waves at least as many are found as this power allows, but for 1e-6."""
    assert fired("plain", ratio, 60, step=1, seed=34) >= least(power, 60)
