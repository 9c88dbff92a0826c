"""Next-launch crashes over drawn services: how often do equal releases fire?

Worlds have a day of their own, several old releases with unlike rates, a ramp, and
delays of hours; beside it reports of one arm or of both may be held back for hours
and then arrive together.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest

from detector.evidence.cohort import (
    LAG_EDGES_H,
    LAGS,
    THRESHOLD,
    Arm,
    cohort_excess,
)
from detector.evidence.types import FloatArray, IntArray
from tests.calibration.chances import count, least, most

PRE, LIFE = 64, 120
BINS = PRE + LIFE
T = np.arange(BINS)
MARGIN = math.log(1.25)
HELD = {"none": "", "new": "N", "old": "PO", "all": "NPO"}
"""Whose reports are held back: the new release, its predecessor, an older one."""

RAMPS = (
    ((0, 0.1), (5, 0.4), (16, 1.0)),
    ((0, 0.01), (12, 0.05), (24, 0.2), (52, 0.5), (80, 1.0)),
)
Generator = np.random.Generator


class Release(NamedTuple):
    """Units by half-hour bin; bin and report time of each crash, in bins."""

    units: FloatArray
    born: IntArray
    told: FloatArray


def adoption(rng: Generator) -> FloatArray:
    """Share of the new release, which follows its planned steps slowly."""
    target, share = np.zeros(BINS), np.zeros(BINS)
    for start, weight in RAMPS[int(rng.integers(len(RAMPS)))]:
        target[PRE + start :] = weight
    for b in range(PRE, BINS):
        share[b] = share[b - 1] + 0.2 * (0.97 * target[b] - share[b - 1])
    return share


def drawn(rng: Generator, held: str, ratio: float) -> dict[str, Release]:
    """One application and the releases of it that are alive."""
    angle = 2 * math.pi * T / 48
    load = 10 ** rng.uniform(3, 4.5) * np.exp(
        rng.uniform(0.2, 1) * np.sin(angle + rng.uniform(0, 6.28))
    )
    rate = 10 ** rng.uniform(-3, -2) * np.exp(
        rng.uniform(0, 0.35) * np.sin(angle + rng.uniform(0, 6.28))
        + rng.normal(0, rng.uniform(0, 0.1), BINS)
    )
    median, spread = 2 * rng.uniform(1, 4), rng.uniform(0.8, 1.3)
    share, mix = adoption(rng), rng.uniform(0.1, 0.4)
    start = PRE + int(rng.integers(4, 50))
    end = start + int(rng.integers(8, 24))
    older = rng.choice([0.2, 0.5, 1.0, 1.3])
    parts = {
        "N": (share, ratio),
        "P": ((1 - share) * (1 - mix), 1.0),
        "O": ((1 - share) * mix, older),
    }
    releases = {}
    for name, (part, factor) in parts.items():
        units = rng.poisson(load * part)
        born = np.repeat(T, rng.poisson(units * rate * factor))
        told = born + 0.5 + median * np.exp(spread * rng.normal(size=len(born)))
        told = np.maximum(np.ceil(3 * told) / 3, born + 1)
        if name in HELD[held]:
            told = np.where((told >= start) & (told < end), end, told)
        releases[name] = Release(units.astype(np.float64), born, told)
    return releases


def known(releases: list[Release], now: int) -> Arm:
    """What is known of these releases at the end of bin ``now``."""
    units, crashes = np.zeros((1, now)), np.zeros((1, now, LAGS))
    for release in releases:
        units[0] += release.units[:now]
        seen = (release.told <= now) & (release.born < now)
        born = release.born[seen]
        delay_h = (release.told[seen] - born - 0.5) / 2
        lag = np.searchsorted(LAG_EDGES_H, delay_h, side="right") - 1
        np.add.at(crashes[0], (born, np.clip(lag, 0, LAGS - 1)), 1.0)
    return Arm(units, crashes)


def fires(world: dict[str, Release], step: int) -> bool:
    """Whether the release is ever taken for bad, looked at every ``step`` bins."""
    for now in range(PRE + 2, BINS, step):
        found = cohort_excess(
            (now - np.arange(now) - 0.5) / 2,
            known([world["N"]], now),
            known([world["P"]], now),
            known([world["P"], world["O"]], now),
            MARGIN,
        )
        if found is not None and found.present and found.z >= THRESHOLD:
            return True
    return False


def fired(held: str, ratio: float, runs: int, *, step: int, seed: int) -> int:
    """How many of the drawn releases fire."""
    return count(lambda rng: fires(drawn(rng, held, ratio), step), runs, seed)


@pytest.mark.slow
@pytest.mark.parametrize("held", HELD)
def test_equal_releases_rarely_fire(held: str) -> None:
    """Of 20 releases like their predecessor at most 6 fire.

    Each does with probability at most .02: P(binomial(20, .02) > 6) <= 1e-6.
    """
    assert fired(held, 1.0, 20, step=6, seed=41) <= most(0.02, 20)


@pytest.mark.slow
@pytest.mark.parametrize("held", ["none", "all"])
def test_tripled_crashes_are_found(held: str) -> None:
    """Of 8 releases that crash three times as often at least 3 are found.

    Each is with probability at least .95: P(binomial(8, .95) < 3) <= 1e-6.
    """
    assert fired(held, 3.0, 8, step=6, seed=42) >= least(0.95, 8)


@pytest.mark.calibration
@pytest.mark.parametrize("held", HELD)
def test_equal_releases_stay_long(held: str) -> None:
    """Of 300 releases, looked at every half hour, at most 21 fire.

    Each does with probability at most .02: P(binomial(300, .02) > 21) <= 1e-6.
    """
    assert fired(held, 1.0, 300, step=1, seed=43) <= most(0.02, 300)
