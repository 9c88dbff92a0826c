"""Drawn releases of many kinds through the whole core: who is taken back?

Every release differs in size, error rate, hour and severity; harmless ones must be
left alone and bad ones found. Figures of long runs: ``python -m bench.fleet`` and
``python -m bench.release_quality families``.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from bench.fleet import is_owed, net_of, rules_at
from bench.release_quality import CALIBRATED
from detector.simulator import BAD, HARMLESS, Fate, Scenario, fleet, run_scenarios
from tests.calibration.chances import most

ALPHA = 0.01
QUICK = [name for name in CALIBRATED if name not in ("daily", "waves")]


def drawn(family: str, runs: int, seed: int) -> list[Scenario]:
    """Releases of a family."""
    make = (HARMLESS | BAD)[family]
    return [make(np.random.default_rng([seed, i])) for i in range(runs)]


def wrongly(family: str, runs: int, seed: int) -> int:
    """How many releases of a harmless family are taken back."""
    fates = run_scenarios(drawn(family, runs, seed), rules_at(ALPHA), seed=seed)
    return sum(fate.is_false for fate in fates)


@pytest.mark.slow
@pytest.mark.parametrize("family", QUICK)
def test_drawn_harmless_releases_stay(family: str) -> None:
    """Of 20 harmless releases at most 5 are taken back.

    Each is with probability at most .01: P(binomial(20, .01) > 5) <= 1e-6.
    """
    assert wrongly(family, 20, seed=601) <= most(ALPHA, 20)


@pytest.mark.calibration
@pytest.mark.parametrize("family", HARMLESS)
def test_every_harmless_family_stays(family: str) -> None:
    """Of 300 harmless releases at most 15 are taken back.

    Each is with probability at most .01: P(binomial(300, .01) > 15) <= 1e-6.
    """
    assert wrongly(family, 300, seed=602) <= most(ALPHA, 300)


@pytest.mark.slow
def test_plain_harm_is_found() -> None:
    """Nearly all of 20 releases with at least twice the errors are found.

    Only those owed a recommendation count, and at most so many of them are missed
    as a program that misses each with probability .1 exceeds in 1e-6 of the runs.
    """
    fates = run_scenarios(drawn("errors", 20, 603), rules_at(0.0025), seed=603)
    owed = [fate for fate in fates if is_owed(fate)]
    missed = sum(not fate.is_hit for fate in owed)
    assert missed <= most(0.1, len(owed))


@cache
def company() -> tuple[Fate, ...]:
    """What became of a fleet of 400 releases, a fifth of them bad."""
    scenarios = fleet(np.random.default_rng(604), 400, bad_share=0.2)
    return tuple(run_scenarios(scenarios, rules_at(0.0025), seed=604))


@pytest.mark.calibration
def test_fleet_is_hardly_ever_wrong() -> None:
    """Harmless releases of a fleet are taken back at most as often as alpha says.

    Alpha is .0025; a correct program exceeds the bound with probability <= 1e-6.
    """
    harmless = [fate for fate in company() if not fate.is_bad]
    assert sum(f.is_false for f in harmless) <= most(0.0025, len(harmless))


@pytest.mark.calibration
def test_fleet_harm_is_found() -> None:
    """Doubled errors that reached 60 failed sessions are found.

    A program that misses one in fifty exceeds the bound with probability <= 1e-6.
    """
    owed = [fate for fate in company() if is_owed(fate)]
    assert len(owed) >= 20
    assert sum(not f.is_hit for f in owed) <= most(0.02, len(owed))


@pytest.mark.slow
def test_neighbours_do_not_matter() -> None:
    """A release fares alone as it does among others in its partition."""
    scenarios = [*drawn("errors", 3, 605), *drawn("outage", 3, 605)]
    together = run_scenarios(scenarios, rules_at(ALPHA), seed=605)
    for number, scenario in enumerate(scenarios):
        alone = run_scenarios([scenario], rules_at(ALPHA), seed=605, first=number)
        assert alone == [together[number]]


def test_net_counts_harm_and_false_alarms() -> None:
    """Net is 1 less what was served bad, less twice the share of false alarms."""
    late = Fate("late", ("errors",), 2.0, {}, 0, 0, 10, affected=100.0, served=25.0)
    missed = Fate("missed", ("errors",), 2.0, {}, 0, 0, affected=10.0, served=10.0)
    early = Fate("early", ("errors",), 2.0, {}, 0, 50, 10, affected=10.0, served=0.0)
    false = Fate("false", (), 1.0, {}, 0, None, 10)
    quiet = Fate("quiet", (), 1.0, {}, 0, None)
    assert net_of([late, quiet]) == 0.75
    assert net_of([late, missed]) == pytest.approx(0.375)
    assert net_of([early]) == 0.0
    assert net_of([false, quiet]) == 0.0
