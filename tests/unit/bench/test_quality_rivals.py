"""Rivals fire on what they are made for, and compute what their sources say.

Where counts are drawn, 20 failures a window are expected and 200 or 2 are what the
test is about: a correct rival fails with a probability far below 1e-6.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.quality.rivals import (
    RIVALS,
    Adwin,
    MannWhitneyJudge,
    MixtureSprt,
    PeekedZTest,
    PoissonCusum,
    Rival,
    ThreeSigma,
)
from bench.quality.windows import Arm, History, Window

MINUTE_MS = 60_000


def arm(units: float, bad: float) -> Arm:
    return Arm(units, bad)


def history(past: list[Arm]) -> History:
    return History("2", len(past) * MINUTE_MS, past)


def drawn(
    rng: np.random.Generator, rate: float, windows: int, units: int = 2000
) -> list[Arm]:
    return [arm(units, float(k)) for k in rng.binomial(units, rate, windows)]


def first_fire(
    rival: Rival, past: list[Arm], new: list[Arm], old: list[Arm]
) -> int | None:
    """Number of windows after which the rival first fires."""
    run = history(past)
    start_ms = run.deploy_ms
    for index, (a, b) in enumerate(zip(new, old, strict=True)):
        at_ms = start_ms + index * MINUTE_MS
        run.add(Window(at_ms, at_ms + MINUTE_MS, a, b))
        if rival.look(run):
            return index + 1
    return None


@pytest.mark.parametrize("make", RIVALS)
def test_tenfold_rate_is_found(make: type[Rival]) -> None:
    """Every rival finds ten times the errors within half an hour."""
    if make is Adwin:
        pytest.importorskip("river")
    rng = np.random.default_rng(3)
    past, old = drawn(rng, 0.01, 120), drawn(rng, 0.01, 120)
    assert first_fire(make(), past, drawn(rng, 0.1, 120), old) is not None


@pytest.mark.parametrize("make", RIVALS)
def test_improvement_is_left_alone(make: type[Rival]) -> None:
    """No rival rolls back a release with a tenth of the errors."""
    if make is Adwin:
        pytest.importorskip("river")
    rng = np.random.default_rng(4)
    past, old = drawn(rng, 0.01, 120), drawn(rng, 0.01, 120)
    assert first_fire(make(), past, drawn(rng, 0.001, 120), old) is None


@pytest.mark.parametrize("make", RIVALS)
def test_history_replaces_lost_control(make: type[Rival]) -> None:
    """After a flip of everything the past is what is compared with."""
    if make is Adwin:
        pytest.importorskip("river")
    rng = np.random.default_rng(5)
    gone = [Arm() for _ in range(120)]
    past, bad = drawn(rng, 0.01, 240), drawn(rng, 0.1, 120)
    assert first_fire(make(), past, bad, gone) is not None


def test_judge_needs_five_samples() -> None:
    """At 98 % no smaller pair of samples has an interval; five minutes do."""
    judge = MannWhitneyJudge()
    low, high = [1.0, 2.0, 3.0, 4.0, 5.0], [11.0, 12.0, 13.0, 14.0, 15.0]
    assert not judge.is_high(high[:4], low[:4])
    assert judge.is_high(high, low)


def test_judge_tolerates_spread_of_shift() -> None:
    """Lower limit 1 against a shift of 10 is within the tolerance of a quarter."""
    judge = MannWhitneyJudge()
    old = [0.0, 0.1, 0.2, 0.3, 0.4]
    assert not judge.is_high([2.0, 2.1, 10.2, 20.1, 20.2], old)
    assert not judge.is_high(old, old)
    assert not judge.is_high([-x - 1 for x in old], old)


def test_judge_agrees_with_published_interval() -> None:
    """The shift's limits for 1..4 against 10..40 are 6 and 39 at 95 %, as in R."""
    judge = MannWhitneyJudge()
    judge.confidence, judge.tolerance = 0.95, 5.9 / 22.5
    old, new = [1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]
    assert judge.is_high(new, old)
    judge.tolerance = 6.1 / 22.5
    assert not judge.is_high(new, old)


def test_z_test_uses_its_quantile() -> None:
    """One-sided 1 %: z of 2.3 is not enough, z of 2.4 is."""
    units, control = 10_000.0, arm(10_000, 100)

    def z_of(bad: float) -> float:
        rate = (bad + 100) / (2 * units)
        spread = math.sqrt(rate * (1 - rate) * 2 / units)
        return (bad - 100) / units / spread

    for bad in (134.0, 137.0):
        fired = first_fire(PeekedZTest(), [], [arm(units, bad)], [control])
        assert (fired == 1) is (z_of(bad) > 2.3263)
    assert z_of(134) < 2.3263 < z_of(137)


def test_mixture_bound_is_documented_one() -> None:
    """The critical z of the documented formula decides, to one failure."""
    units, control = 10_000.0, arm(10_000, 100)

    def is_over(bad: float) -> bool:
        p = np.array([bad, 100.0]) / units
        spread = p * (1 - p)
        v = spread.sum() / units
        tau = 2.5758293**2 * spread.sum() / (2 * units)
        inner = -2 * math.log(0.005) - math.log(v / (v + tau))
        critical = math.sqrt((v + tau) / tau * inner)
        return bool((p[0] - p[1]) / math.sqrt(v) > critical)

    edge = next(bad for bad in range(100, 400) if is_over(bad))
    for bad in (edge - 1, edge):
        fired = first_fire(MixtureSprt(), [], [arm(units, bad)], [control])
        assert (fired == 1) is (bad == edge)


def test_cusum_learns_restless_past() -> None:
    """A past that swings raises the threshold above what it swings to."""
    calm = [arm(1000, 10)] * 40
    restless = calm[:20] + [arm(1000, 60)] * 10 + calm[20:]
    bad, gone = [arm(1000, 25)] * 10, [Arm()] * 10
    quick = first_fire(PoissonCusum(), calm, bad, gone)
    slow = first_fire(PoissonCusum(), restless, bad, gone)
    assert quick is not None
    assert slow is None or slow > quick


def test_three_sigma_wants_three_windows() -> None:
    """Two high windows with a good one between them are no alarm."""
    rng = np.random.default_rng(6)
    past = drawn(rng, 0.01, 100)
    good, bad = arm(2000, 20), arm(2000, 200)
    gone = [Arm()] * 6
    assert first_fire(ThreeSigma(), past, [bad, bad, good] * 2, gone) is None
    assert first_fire(ThreeSigma(), past, [good] * 3 + [bad] * 3, gone) == 6


def test_few_windows_teach_nothing() -> None:
    """Without a past neither history rival says anything."""
    for rival in (PoissonCusum(), ThreeSigma()):
        assert first_fire(rival, [], [arm(10, 10)] * 9, [Arm()] * 9) is None
