"""Planned share of traffic: what counts as a shortfall, and what excuses one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detector.evidence.plan import (
    DISPERSION_MIN,
    MARGIN,
    THRESHOLD,
    could_reach,
    dispersion,
    errors_keep_plan,
    planned_log_odds,
    shortfall,
    spans,
)
from detector.evidence.plansteps import (
    SPREAD_PRIOR,
    STEPS_KEPT,
    PlanPast,
    Step,
    spread,
)
from detector.evidence.types import FloatArray

MINUTE_MS = 60_000
TENTH = planned_log_odds(0.1)


def minutes(*units: float, each: int = 1) -> FloatArray:
    """Units per minute, every value ``each`` times."""
    return np.repeat(np.array(units, dtype=np.float64), each)


def found(candidate: FloatArray, control: FloatArray, **more: float):
    """The shortfall of a tenth of the traffic, which must have been looked at."""
    short = shortfall(candidate, control, TENTH, bin_ms=MINUTE_MS, **more)
    assert short is not None
    return short


def test_share_on_plan_is_quiet() -> None:
    """A release with exactly its share is below the margin in every span."""
    short = found(minutes(100, each=60), minutes(900, each=60))
    assert short.z < 0
    assert not short.present


def test_halved_usage_is_found() -> None:
    """Half the planned units over a quarter of an hour are a present shortfall."""
    short = found(minutes(50, each=15), minutes(900, each=15))
    assert short.z >= THRESHOLD
    assert short.present
    assert short.log_ratio == pytest.approx(math.log(0.5), abs=0.01)


def test_more_than_planned_never_counts() -> None:
    """A release that is used more than planned has a negative excess."""
    assert found(minutes(300, each=60), minutes(900, each=60)).z < 0


def test_recovered_usage_is_absent() -> None:
    """A shortfall whose newest third is on plan again is not present."""
    candidate = np.concatenate([minutes(20, each=40), minutes(100, each=5)])
    short = found(candidate, minutes(900, each=45))
    assert short.z >= THRESHOLD
    assert not short.present


def test_evidence_saturates_with_traffic() -> None:
    """A hundred times the traffic cannot pass what the balancer's spread allows."""
    small, large = (
        found(minutes(80 * k, each=30), minutes(900 * k, each=30)) for k in (1e3, 1e5)
    )
    limit = (math.log(1 / 0.8) - math.log(MARGIN)) / SPREAD_PRIOR
    assert small.z < large.z <= limit * 1.01


def test_sampling_widens_the_error() -> None:
    """Units that stand for twenty each are less sure than as many counted ones."""
    candidate, control = minutes(500, each=5), minutes(9000, each=5)
    sampled = found(candidate, control, inverse_rates=(20.0, 1.0))
    assert sampled.sd > found(candidate, control).sd
    assert sampled.log_ratio == found(candidate, control).log_ratio


def test_missing_bins_are_skipped() -> None:
    """Bins without lines neither fill a span nor change what the others say."""
    candidate, control = minutes(50, each=10), minutes(900, each=10)
    gaps = np.zeros(10)
    short = found(
        np.column_stack([candidate, gaps]).ravel(),
        np.column_stack([control, gaps]).ravel(),
    )
    plain = found(candidate, control)
    assert (short.z, short.log_ratio) == (plain.z, plain.log_ratio)
    assert (short.first, short.last) == (10, 19)


def test_short_step_is_not_judged() -> None:
    """Fewer bins than the shortest span say nothing."""
    candidate, control = minutes(1, each=4), minutes(900, each=4)
    assert shortfall(candidate, control, TENTH, bin_ms=MINUTE_MS) is None


@pytest.mark.parametrize(
    ("bins", "bin_ms", "expected"),
    [
        (4, MINUTE_MS, []),
        (5, MINUTE_MS, [5]),
        (200, MINUTE_MS, [5, 15, 45, 135]),
        (12, 300_000, [3, 9]),
        (3, 3_600_000, [3]),
    ],
)
def test_spans_outlast_a_restart(bins: int, bin_ms: int, expected: list[int]) -> None:
    """The shortest span is five minutes and three bins, whichever is longer."""
    assert spans(bins, bin_ms) == expected


def test_jump_does_not_excuse_itself() -> None:
    """One lasting drop leaves the dispersion of neighbours as it was."""
    rng = np.random.default_rng(5)
    control = rng.poisson(900, 60).astype(float)
    level = rng.poisson(100, 60).astype(float)
    dropped = level.copy()
    dropped[30:] *= 0.3
    assert dispersion(dropped, control) <= 1.5 * dispersion(level, control)


def test_bursty_units_widen_dispersion() -> None:
    """Counts that come in packs of twenty are seen to be less sure."""
    rng = np.random.default_rng(6)
    candidate = 20.0 * rng.poisson(50, 200)
    control = 20.0 * rng.poisson(450, 200)
    assert dispersion(candidate, control) > 4 * DISPERSION_MIN


def test_spread_never_falls_below_prior() -> None:
    """Steps that kept the plan exactly do not make the balancer perfect."""
    assert spread([0.0] * 32, [0.001] * 32) == SPREAD_PRIOR


def test_straying_balancer_is_learnt() -> None:
    """Steps a seventh off the plan make the next such step less surprising."""
    learnt = spread([0.15, -0.15] * 8, [0.0] * 16)
    assert 0.1 < learnt < 0.15


def test_one_disaster_teaches_little() -> None:
    """A step with hardly any traffic does not blind the test for good."""
    assert spread([-3.0], [0.0]) < 0.11


def test_errors_on_plan_contradict_shortfall() -> None:
    """Usage at a third with all its errors is lost telemetry, not lost users."""
    assert errors_keep_plan(math.log(1 / 3), 100.0, 900.0, TENTH)


def test_errors_that_fall_along_agree() -> None:
    """If errors fall as usage does, users are missing."""
    assert not errors_keep_plan(math.log(1 / 3), 33.0, 900.0, TENTH)


def test_few_errors_contradict_nothing() -> None:
    """A handful of errors cannot clear a shortfall."""
    assert not errors_keep_plan(math.log(0.5), 1.0, 9.0, TENTH)


@pytest.mark.parametrize("weight", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_empty_plan_is_refused(weight: float) -> None:
    """A share of nothing or everything plans nothing that could be missed."""
    with pytest.raises(ValueError, match="planned share"):
        planned_log_odds(weight)


def test_finished_steps_are_remembered() -> None:
    """A step joins the past when another one begins, the newest values of it."""
    past = PlanPast()
    past.note(0, Step(2, 0.3, 0.1))
    past.note(0, Step(2, 0.1, 0.1))
    assert past.steps == []
    past.note(60, Step(2, 0.2, 0.1))
    past.note(90, Step(3, 0.0, 0.1))
    assert [(s.release, s.residual) for s in past.steps] == [(2, 0.1), (2, 0.2)]


def test_past_steps_are_bounded() -> None:
    """Only the newest steps are kept."""
    past = PlanPast()
    for start in range(STEPS_KEPT + 10):
        past.note(start, Step(1, float(start), 0.1))
    assert len(past.steps) == STEPS_KEPT
    assert past.steps[-1].residual == STEPS_KEPT + 8


@pytest.mark.parametrize("lasts_min", [1.0, 4.0, 15.0])
def test_young_sessions_are_never_short(lasts_min: float) -> None:
    """Requests that lag behind a new plan as sessions age are not present."""
    ages = np.arange(1, 121)
    candidate = 1000.0 * -np.expm1(-ages / lasts_min)
    control = np.full(120, 9000.0)
    for bins in range(5, 121, 5):
        found = shortfall(candidate[:bins], control[:bins], TENTH, bin_ms=60_000)
        assert found is not None
        assert not found.present


def test_dismissed_series_stay_below() -> None:
    """Of many series none that the bound leaves out reaches the threshold."""
    rng = np.random.default_rng(9)
    share = rng.uniform(0.3, 1.3, (60, 1))
    t = rng.poisson(100.0 * share, (60, 50)).astype(float)
    c = rng.poisson(900.0, (60, 50)).astype(float)
    kept = could_reach(t, c, TENTH, at_least=3.0, spread=0.05, bin_ms=60_000)
    found = [shortfall(a, b, TENTH, bin_ms=60_000) for a, b in zip(t, c, strict=True)]
    over = {i for i, one in enumerate(found) if one is not None and one.z >= 3.0}
    assert over
    assert over <= set(kept.tolist())
    assert len(kept) < 60


def test_too_few_bins_reach_nothing() -> None:
    """Before the shortest span is full no series is worth a look."""
    few = np.ones((3, 4))
    assert not len(
        could_reach(few, few, TENTH, at_least=3.0, spread=0.05, bin_ms=60_000)
    )
