"""How often the comparison with the past is wrong, and how soon it is right.

The guarantee is empirical: the bounds are what was measured, widened so far that a
correct program misses them with probability at most 1e-6.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from detector.evidence.blocks import Recent, cut
from detector.evidence.forecast import DAY_MS, HOUR_MS, RATES
from detector.evidence.past import Past
from detector.evidence.types import FloatArray
from tests.calibration.chances import least, most

MINUTE_MS = 60_000
RUNS = 60


class World(NamedTuple):
    """A service: its past, its windows, and how its error rate wanders."""

    past_ms: int
    window_ms: int
    after_ms: int
    sd: tuple[float, float]
    daily: float
    level: float = 40.0


WORLDS = {
    "short": World(HOUR_MS, MINUTE_MS, HOUR_MS, (0.05, 0.2), 0.0),
    "half a day": World(10 * HOUR_MS, MINUTE_MS, 6 * HOUR_MS, (0.05, 0.2), 0.3),
    "two days": World(2 * DAY_MS, 5 * MINUTE_MS, 6 * HOUR_MS, (0.05, 0.2), 0.4),
    "five days": World(5 * DAY_MS, 5 * MINUTE_MS, DAY_MS, (0.05, 0.2), 0.5),
    "five days, wandering": World(5 * DAY_MS, 5 * MINUTE_MS, DAY_MS, (0.1, 0.5), 0.5),
    "ten days, wide": World(10 * DAY_MS, HOUR_MS, DAY_MS, (0.2, 0.6), 0.3),
}


def wander(rng: np.random.Generator, world: World, bins: int) -> FloatArray:
    """Log error rate relative to its mean: AR(1) noise and a daily swing."""
    sd = rng.uniform(*world.sd)
    keep = np.exp(-world.window_ms / (MINUTE_MS * np.exp(rng.uniform(3.0, 5.9))))
    shocks = rng.normal(0.0, sd * np.sqrt(1 - keep**2), bins)
    noise = np.empty(bins)
    noise[0] = rng.normal(0.0, sd)
    for i in range(1, bins):
        noise[i] = keep * noise[i - 1] + shocks[i]
    phase = rng.uniform(0, 2 * np.pi)
    day = np.arange(bins) * world.window_ms / DAY_MS * 2 * np.pi
    swing: FloatArray = noise + world.daily * np.sin(day + phase)
    return swing


def first_alarm_ms(
    seed: int, world: World, effect: float = 1.0, blip: float = 1.0
) -> int | None:
    """Age of the first alarm of one release, every window looked at once.

    ``blip`` multiplies the rate of the first three minutes.
    """
    rng = np.random.default_rng(seed)
    before = world.past_ms // world.window_ms
    bins = before + world.after_ms // world.window_ms
    log_rate = wander(rng, world, bins)
    log_rate[before:] += np.log(effect)
    first = max(1, 3 * MINUTE_MS // world.window_ms)
    dilution = min(1.0, 3 * MINUTE_MS / world.window_ms)
    log_rate[before : before + first] += np.log(1 + (blip - 1) * dilution)
    bad = rng.poisson(world.level * np.exp(log_rate)).astype(float)
    units = np.full(bins, 100 * world.level)
    past = Past(bad[:before], units[:before], world.window_ms, RATES)
    return _alarm(past, bad[before:], units[before:], world)


def _alarm(past: Past, bad: FloatArray, units: FloatArray, world: World) -> int | None:
    width_ms = world.window_ms
    shortest_ms = max(3 * width_ms, 5 * MINUTE_MS)
    for n in range(shortest_ms // width_ms, len(bad) + 1):
        over_ms = past.over_after_ms(bad[:n], units[:n], width_ms)
        recent = Recent(np.arange(n + 1) * width_ms, bad[:n], units[:n])
        blocks = cut(
            recent,
            max(0, over_ms),
            shortest_ms,
            max(HOUR_MS, 3 * width_ms),
            max(width_ms, 90_000 // width_ms * width_ms),
        )
        outcome = past.look(n * width_ms, blocks, over_ms >= 0)
        if outcome is not None and outcome.fires:
            return n * width_ms
    return None


def share_alarmed(
    name: str, *, effect: float = 1.0, blip: float = 1.0, runs: int = RUNS
) -> float:
    """Share of releases with an alarm."""
    seeds = range(1000, 1000 + runs)
    alarms = [first_alarm_ms(seed, WORLDS[name], effect, blip) for seed in seeds]
    return sum(a is not None for a in alarms) / runs


@pytest.mark.calibration
@pytest.mark.parametrize("name", WORLDS)
def test_harmless_releases_rarely_fire(name: str) -> None:
    """Measured 0 to .05; at .07 this fails with probability at most 1e-6."""
    assert share_alarmed(name) <= most(0.07, RUNS) / RUNS


@pytest.mark.calibration
@pytest.mark.parametrize("name", ["short", "two days", "five days"])
def test_deploy_blips_rarely_fire(name: str) -> None:
    """Three minutes at 20 times the rate; at .04 fails with probability 1e-6."""
    assert share_alarmed(name, blip=20.0) <= most(0.04, RUNS) / RUNS


@pytest.mark.calibration
@pytest.mark.parametrize("name", WORLDS)
def test_fourfold_harm_is_found(name: str) -> None:
    """Measured .97 or more; at .95 this fails with probability at most 1e-6."""
    assert share_alarmed(name, effect=4.0) >= least(0.95, RUNS) / RUNS
