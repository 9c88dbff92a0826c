"""Blame among four changes at once: a canary and three flags, mostly in the same units.

Bytes of the log go in, recommendations come out. Units are early adopters or not; an
early one runs each change far more often, so all four go to mostly the same units.
Bursts hit everybody in one region, whatever they run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.unit.detector.traffic import (
    Event,
    Log,
    at,
    deploy,
    error,
    recommendations,
    rules,
    run,
    usage,
)

BOOK = rules(
    "persistence_s: 30",
    "hypercare: {min_hours: 0.0, min_exposure: 100}",
    strata="[{attr: region}]",
)
FLAGS = ("cart", "promo", "search")
NAMES = ("2", *FLAGS)
WITH, WITHOUT = {"2": 0.85}, {"2": 0.15}
EARLY_SHARE = 0.3
SESSIONS = 3_000
"""Started in a window, in all regions together."""

RATE = 0.02
BURST = 25.0
BEFORE, AFTER = 3, 14
"""Windows without the changes, and with them."""

TRIALS = 300


@dataclass(frozen=True)
class World:
    """What harms whom: ``guilty`` is a place in ``NAMES``, None for nobody."""

    guilty: int | None = None
    ratio: float = 3.0
    bursts: bool = False
    seed: int = 0


def shares() -> dict[tuple[int, ...], float]:
    """Share of the units that run each combination of the four changes."""
    found = {}
    for runs in product((0, 1), repeat=4):
        early = np.prod([0.85 if one else 0.15 for one in runs])
        others = np.prod([0.05 if one else 0.95 for one in runs])
        found[runs] = float(EARLY_SHARE * early + (1 - EARLY_SHARE) * others)
    return found


def lines(world: World, window: int, rng: np.random.Generator) -> list[Event]:
    """Usage and errors of one window, by region and combination."""
    events: list[Event] = []
    for region in ("eu", "us"):
        burst = world.bursts and region == "eu" and rng.random() < 0.15
        for runs, share in shares().items():
            if window < BEFORE and any(runs):
                continue
            sessions = int(rng.poisson(SESSIONS / 2 * share))
            harm = world.guilty is not None and runs[world.guilty]
            rate = RATE * (world.ratio if harm else 1.0) * (BURST if burst else 1.0)
            failed = int(rng.binomial(sessions, min(rate, 1.0)))
            more: dict[str, Any] = {
                "attrs": {"region": region},
                "changes": {
                    name: "on" if one else "off"
                    for name, one in zip(FLAGS, runs[1:], strict=True)
                },
            }
            release = "2" if runs[0] else "1"
            if sessions:
                events.append(usage(window, release, sessions, **more))
            if failed:
                events.append(error(window, release, failed, **more))
    return events


def blamed(world: World) -> set[str]:
    """What action is recommended against, by name."""
    rng = np.random.default_rng([20_260_303, world.seed])
    log = Log()
    for window in range(BEFORE):
        log.add(at(window + 1) + 500, *lines(world, window, rng))
    log.add(
        at(BEFORE),
        deploy(BEFORE, predecessor="1", strategy="canary"),
        *(deploy(BEFORE, "on", component=name, strategy="flag") for name in FLAGS),
    )
    for window in range(BEFORE, BEFORE + AFTER):
        log.add(at(window + 1) + 500, *lines(world, window, rng))
    return {
        record["component"] or record["release"]
        for record in recommendations(run(log, BOOK))
    }


@pytest.mark.calibration
def test_guilty_change_is_blamed() -> None:
    """Of four changes in mostly the same units the one that harms is blamed, alone.

    A program that does so in 99 % of trials fails here with probability 7e-7: 15 or
    more of 300 misses.
    """
    wrong = 0
    for seed in range(TRIALS):
        guilty = seed % 4
        found = blamed(World(guilty=guilty, seed=seed))
        wrong += found != {NAMES[guilty]}
    assert wrong < 0.05 * TRIALS


@pytest.mark.calibration
def test_ambient_trouble_blames_nobody() -> None:
    """Bursts that hit all units of a region alike lead to no recommendation.

    A program that errs in 1e-4 of trials fails here with probability 4e-8: more than
    1 % of 300.
    """
    wrong = sum(
        bool(blamed(World(bursts=True, seed=10_000 + seed))) for seed in range(TRIALS)
    )
    assert wrong <= 0.01 * TRIALS


def test_bursts_do_not_hide_guilt() -> None:
    """The guilty change is blamed alone through bursts that hit everybody.

    Ten trials at ten times the rate: a miss in any has a probability below 1e-6.
    """
    for seed in range(10):
        world = World(guilty=seed % 4, ratio=10.0, bursts=True, seed=20_000 + seed)
        assert blamed(replace(world, bursts=seed % 2 == 0)) == {
            NAMES[world.guilty or 0]
        }
